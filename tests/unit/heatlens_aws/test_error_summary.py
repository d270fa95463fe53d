from heatlens_aws.error_summary import error_summary


def test_an_error_is_described_by_kind_and_place_without_its_message() -> None:
    try:
        raise ValueError("in/secret")
    except ValueError as error:
        summary = error_summary(error)

    assert summary.startswith("ValueError at test_an_error_is_described_by_kind_and_place_without_its_message:")
    assert "secret" not in summary
