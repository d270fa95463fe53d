from infra.make_command_options import option_page, walk


def test_every_command_has_a_section_with_its_options_and_an_example() -> None:
    text = option_page()

    for words, command in walk():
        section = text.partition(f"## {words}\n")[2].partition("\n## ")[0]
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert f"`{', '.join(parameter.opts)}`" in section, (words, parameter.name)
        assert f"```\n{words}" in section


def test_defaults_and_requirements_are_shown() -> None:
    text = option_page()

    assert "| `--alpha` | `0.4` | Weight of the heatmap" in text
    assert "| `IMAGES` | required |" in text
