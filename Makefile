# Every command of this project; `make` lists them. .ci/run calls `lint`, `test` and `test-staging`.
PYTHON ?= python3
PORT ?= 8000
SAMPLES := $(sort $(wildcard layers/heatlens_web/static/samples/*.png layers/heatlens_web/static/samples/*.jpg))
IMAGES ?= $(SAMPLES)

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CONSTRAINTS := infra/constraints.txt
LOCK = $(BIN)/uv pip compile --quiet --constraints $(CONSTRAINTS) --generate-hashes --python-version 3.11 \
  --python-platform linux --no-header --no-annotate
MODEL_DIR ?= layers/heatlens/models/demo
BASE_IMAGE ?= $$(infra/base-image.sh)
# Lambda and SageMaker refuse attestations, SageMaker also OCI manifests. The classic builder makes neither.
DOCKER_V2 = $(if $(shell docker buildx version 2>/dev/null && echo yes),--provenance=false --sbom=false --output type=docker)
BUILD = docker build $(DOCKER_V2) --file infra/Dockerfile --build-arg MODEL_DIR=$(MODEL_DIR) --build-arg BASE_IMAGE=$(BASE_IMAGE)
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' layers/heatlens/__init__.py)
DEMO := layers/heatlens_torch/demo
TEMPLATES := template.yaml $(sort $(wildcard infra/*.yaml))
TOOL := $(BIN)/python infra/tools.py # sam and checkov, each in its own virtual environment

.PHONY: help run run-batch dev bench bench-engine bench-load bench-picture bench-gpu parity families hugging-face owners image image-cuda invoke start-api endpoint push-endpoint test test-container chaos slow fuzz corpus \
  test-staging lint format model lock tables photo samples clean
.DEFAULT_GOAL := help

help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.runtime ## Set up, write heatmaps of the samples (or IMAGES="a.png b.jpg") to out/, serve on PORT (8000)
	@$(BIN)/heatlens dev invoke $(IMAGES) --out out --force || true
	@$(BIN)/heatlens serve --port $(PORT)

dev: $(VENV)/.dev ## Install the development dependencies in .venv (torch and the rest)

run-batch: $(VENV)/.dev ## Explain the samples (or DIR=folder) as one batch, with a local account, into out/batch
	@$(BIN)/python infra/local_batches.py $(or $(DIR),layers/heatlens_web/static/samples) out/batch

test: $(VENV)/.dev ## Run every test, two files at a time, then those of the image
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/container
	$(BIN)/python -m pytest tests/container

chaos: $(VENV)/.dev ## Run the fault campaign over staged batches (2,000 images; SEED=1, WITHOUT=condition|attempts|versions)
	$(BIN)/python -m tests.chaos $(if $(SEED),--seed $(SEED)) $(if $(WITHOUT),--without $(WITHOUT))

slow: $(VENV)/.dev ## Simulate batches of slow images, and print failed files, invocations and hours as a table (SEED=1)
	@$(BIN)/python -m tests.chaos.slow $(if $(SEED),--seed $(SEED))

lanes: $(VENV)/.dev ## Simulate batches beside and behind a backfill of ten million objects (SEED=1)
	$(BIN)/python -m tests.chaos.lanes $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.dev ## Send generated requests to a server (EXAMPLES=40, SEED=1), then fuzz the parsers (SECONDS_EACH=60)
	$(BIN)/python -m tests.fuzz $(if $(EXAMPLES),--examples $(EXAMPLES)) $(if $(SEED),--seed $(SEED))
	for target in image dicom strip multipart request-event object-event; do \
	  $(BIN)/python -m tests.fuzz.coverage $$target --seconds $(or $(SECONDS_EACH),60) || exit 1; done

corpus: $(VENV)/.dev ## Send every file of DIR to a server; print statuses, slowest files, memory, sizes against Pillow
	$(BIN)/python -m tests.fuzz.corpus "$(DIR)"

test-staging: $(VENV)/.dev ## Run the staging tests against LocalStack, installed in .venv-localstack
	$(BIN)/python infra/localstack.py .venv-localstack $(BIN)/python -m pytest tests/staging

image: ## Build the image (MODEL_DIR=folder of a compiled model; the demo model by default)
	$(BUILD) --target cpu --tag heatlens:cpu .

image-cuda: ## Build the image with PyTorch for GPUs (gigabytes, minutes)
	$(BUILD) --platform linux/amd64 --target cuda --tag heatlens:cuda .

invoke: $(VENV)/.dev ## sam build, then sam local invoke for each of IMAGES; heatmaps in out/invoke
	@$(TOOL) sam build --parameter-overrides BaseImage=$(BASE_IMAGE)
	@$(BIN)/python infra/sam_invoke.py out/invoke $(IMAGES)

start-api: $(VENV)/.dev ## sam build, then serve the API with sam local start-api on PORT (JSON bodies: SAM breaks binary ones)
	@$(TOOL) sam build --parameter-overrides BaseImage=$(BASE_IMAGE)
	@$(TOOL) sam local start-api --port $(PORT) --warm-containers EAGER --skip-pull-image

endpoint: image ## Run the SageMaker server of the image on port 8080, read-only and without privileges
	docker run --rm --read-only --tmpfs /tmp --user 993:990 --cap-drop ALL --publish 127.0.0.1:8080:8080 heatlens:cpu serve

push-endpoint: $(VENV)/.dev image-cuda ## Push the cuda image to REPOSITORY (ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME), tagged TAG
	@$(BIN)/python infra/push_endpoint.py heatlens:cuda "$(REPOSITORY)" "$(or $(TAG),$(VERSION))"

.PHONY: screenshots
screenshots: $(VENV)/.dev ## Draw the page's pictures in the README with Chromium (result is committed)
	$(BIN)/python -m tests.browser.screenshots

.PHONY: base-image
base-image: $(VENV)/.runtime ## Write the digest that the base image's tag has at its registry now (CHECK=1: compare; IMAGE=another)
	@$(BIN)/python infra/base_image.py $(if $(CHECK),--check) $(IMAGE)

test-container: $(VENV)/.dev ## Run the tests of the image, with sizes and times (CUDA=1: the cuda image too); needs Docker
	$(if $(CUDA),HEATLENS_TEST_CUDA=1) $(BIN)/python -m pytest tests/container

lint: $(VENV)/.dev ## Check style, types and templates: ruff, mypy --strict, import-linter, cfn-lint, SAM, checkov
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/cfn-lint $(TEMPLATES)
	@$(TOOL) sam validate --lint
	@$(TOOL) checkov --skip-download --quiet --compact --framework cloudformation --file $(TEMPLATES)

format: $(VENV)/.dev ## Apply ruff's fixes and its formatting
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

model: $(VENV)/.dev ## Train the demo model from its seed and compile it (minutes; result is committed)
	$(BIN)/python -m heatlens_torch.demo.train -o $(DEMO)
	$(BIN)/heatlens compile $(DEMO)/model.toml --out layers/heatlens/models/demo --int8 --force

bench: $(VENV)/.dev ## Compare the Lambda handler with the plain service: requests, start, memory, growth (ten minutes; results are committed)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable .[bench]
	$(BIN)/python -m tests.benchmarks.service

bench-engine: $(VENV)/.dev ## Compare the explanation with its peers from PyPI: time and peak memory (half an hour)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable .[bench]
	$(BIN)/python -m tests.benchmarks.engine --out tests/benchmarks/ENGINE.md

bench-load: $(VENV)/.dev ## Send 1 to 64 clients, slow uploads and 499 MB bodies to both servers: times, statuses, memory
	$(BIN)/python -m tests.benchmarks.load --out tests/benchmarks/LOAD.md

.PHONY: bench-start
bench-start: $(VENV)/.dev ## Break down the start of each entry point: imports, steps, first answer (ten minutes; result is committed)
	$(BIN)/python -m tests.benchmarks.start

bench-picture: $(VENV)/.dev ## Compare an overlay, from the map to the JSON, with one blend and one encoder (two minutes; result is committed)
	$(BIN)/python -m tests.benchmarks.picture

bench-gpu: ## Prove and measure the engines on a GPU (eight minutes; WHEELS=folder: a bare machine; REHEARSE=1: without a GPU; result is committed)
	@if [ -z "$(WHEELS)" ]; then $(MAKE) --no-print-directory $(VENV)/.dev; fi
	$(if $(WHEELS),$(PYTHON) tests/benchmarks/gpu.py --wheels "$(WHEELS)",$(BIN)/python -m tests.benchmarks.gpu) $(if $(REHEARSE),--rehearse)

parity: $(VENV)/.dev ## Compare every architecture and method with pytorch-grad-cam, in layers/PARITY.md and METHODS.md (an hour; results are committed)
	@mkdir -p out
	$(BIN)/python -m heatlens_torch.reports.parity_table --rows out/parity.jsonl
	$(BIN)/python -m heatlens_torch.reports.methods_table

families: $(VENV)/.dev ## Compile a small network of each family of timm at its default layer, in layers/FAMILIES.md (half an hour; result is committed)
	$(BIN)/python -m heatlens_torch.reports.families_table --rows out/families.jsonl

owners: $(VENV)/.dev ## Save networks by each library, compile them as their owners would, in layers/OWNERS.md (minutes; result is committed)
	$(BIN)/python -m tests.owners

hugging-face: $(VENV)/.dev ## Compile small classifiers of transformers at their default layers, in layers/HUGGING-FACE.md (half an hour; result is committed)
	$(BIN)/python -m heatlens_torch.reports.hf_table --rows out/hugging-face.jsonl

lock: $(VENV)/.dev ## Pin what the image installs, with hashes (result is committed)
	$(LOCK) pyproject.toml --extra server --extra aws --extra dicom --output-file infra/image/cpu.txt
	$(LOCK) pyproject.toml --extra server --extra aws --extra dicom infra/image/cuda.in --output-file infra/image/cuda.txt
	$(LOCK) infra/image/tools.in --output-file infra/image/tools.txt

tables: $(VENV)/.dev ## Write the tables, contents and reference of the documents from code and tests (results are committed)
	$(BIN)/python infra/make_tables.py
	$(BIN)/python -m tests.contract

photo: $(VENV)/.dev ## Draw the README's photo beside its heatmap (a minute; result is committed)
	$(BIN)/python -m tests.owners.photo_picture

samples: $(VENV)/.dev ## Draw the sample images again (result is committed)
	$(BIN)/python -m heatlens_torch.demo.samples -o layers/heatlens_web/static/samples

clean: ## Remove .venv, out/ and caches
	rm -rf $(VENV) .venv-* .aws-sam out .hypothesis .mypy_cache .ruff_cache .pytest_cache

$(VENV)/.runtime: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing: apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install -c $(CONSTRAINTS) -e '.[server,dicom]'
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(PIP) install -c $(CONSTRAINTS) -e '.[dev]'
	$(BIN)/python infra/emulator.py $(BIN)/aws-lambda-rie
	@touch $@
