# Every command of this project; `make` explains them. Needs git, make and Python 3.11, and root for what is missing.
# The distribution's own is built with optimizations, which one of pyenv is not: it is a quarter faster.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11) python3)
BIN := .venv/bin
S ?= default

export PATH := $(CURDIR)/$(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_HOME := $(CURDIR)/.ansible
export ANSIBLE_SSH_CONTROL_PATH_DIR := $(CURDIR)/.ansible/cp

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down lint unit sanity scenario test bench lock pictures docs galaxy

help: ## Explain the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

setup: ## Install the pinned tools into .venv (at once when they are there)
	@$(PYTHON) tools/bootstrap.py

demo: setup ## A whole cluster in containers: engine, images, site.yml, and the proof of every link
	@$(BIN)/python tools/demo.py up

demo-down: ## Remove the demo: containers, network, and the engine if the demo started it
	@$(PYTHON) tools/demo.py down

lint: setup ## ansible-lint (production), yamllint, ruff, mypy
	ansible-lint
	python tools/docs.py --check
	antsibull-changelog lint
	yamllint --strict .
	ruff check .
	ruff format --check .
	mypy tools bench
	mypy .collections/ansible_collections/taskfleet/celery_cluster/plugins

# Four at once on two cores: most of the time they wait for processes of theirs. The tests of a file stay together.
# What Python compiles is kept, and outside the source tree, even if the caller wants no bytecode: four times it is read.
unit: export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/bytecode
unit: export PYTHONDONTWRITEBYTECODE :=
unit: setup ## The unit tests
	pytest --numprocesses=4 --dist=loadfile

sanity: setup ## ansible-test sanity on a copy of the collection
	@$(BIN)/python tools/sanity.py

scenario: setup ## One molecule scenario: make scenario S=debian13
	@$(BIN)/python tools/scenario.py $(S)

test: setup ## Everything: lint, unit, sanity and all scenarios (THOROUGH=1: also what takes longest)
	@$(BIN)/python tools/test.py

bench: setup ## Measure: print the table, fill docs/performance.md (PARTS="site scale" for some of it; two hours for all)
	@$(BIN)/python tools/images.py debian12
	@$(BIN)/python bench/run.py $(PARTS)

pictures: setup ## Photograph Flower, the status and the plan of the scenario operations into docs/ (needs Chromium)
	@$(BIN)/python tools/pictures.py

docs: setup ## The docs site in build/docs: the guide, and the reference made from the argument specs
	@$(BIN)/python tools/docs_site.py

galaxy: setup ## Build the collection and have Galaxy's importer look at it, without publishing it
	@$(BIN)/python tools/galaxy.py

lock: setup ## Compile tools.lock from pyproject.toml, for all supported Pythons, and tools/publish.lock
	uv pip compile --quiet --universal --generate-hashes --group tools --output-file tools.lock
	uv pip compile --quiet --universal --generate-hashes --python-version 3.12 \
		--custom-compile-command "make lock" --output-file tools/publish.lock tools/publish.in
