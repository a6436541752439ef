# Everything a newcomer types. The first start installs and builds what is missing and says so; later ones
# start at once. Nothing is installed outside .venv and the cache (~/.cache/dormouse).

.DEFAULT_GOAL := help
PYTHON := .venv/bin/python
SYNCED := .venv/.synced
# Most tests wait for a process rather than compute, so there are more of them than cores.
TEST_WORKERS ?= 4
ifdef DEMO_SECONDS
export DEMO_SECONDS
endif

.PHONY: help
help: ## List the targets
	@awk 'BEGIN {FS = ":.*## "} /^[a-z0-9-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: env binaries ## The main job on real parts, until Ctrl-C or for DEMO_SECONDS
	$(PYTHON) -m examples.demo

.PHONY: test
test: env binaries browser ## All tests, on a real API server and Prometheus (PYTEST_ARGS="-k crd" for some)
ifeq ($(strip $(PYTEST_ARGS)),)
	$(PYTHON) -m pytest -n $(TEST_WORKERS) --ignore=tests/tenants
	@echo "The tests that compare times have the machine for themselves."
	$(PYTHON) -m pytest -n 2 tests/tenants
else
	$(PYTHON) -m pytest -n $(TEST_WORKERS) $(PYTEST_ARGS)
endif

.PHONY: e2e
e2e: env ## The product on a real node: images, chart, kubelet (root, Debian; E2E_ARGS="-k loop" for some)
	@scripts/install-node-tools
	$(PYTHON) -m tests.e2e $(E2E_ARGS)

.PHONY: images
images: env ## The container images, with docker, podman or buildah (IMAGE_ARGS="operator sidecar" for some)
	$(PYTHON) -m images $(IMAGE_ARGS)

.PHONY: check
check: env ## Lint, format, types, import contracts, and whether generated files are fresh
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	$(PYTHON) -m generate --check

.PHONY: generate
generate: env ## Write the files anew that are made from others: the CRD's copy, dashboards, reference pages, tables
	$(PYTHON) -m generate

.PHONY: fmt
fmt: env ## Format the code and repair what the linter can
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.PHONY: bench
bench: env ## The engine's benchmarks: ten minutes, 14 GB of free RAM (BENCH_ARGS="--cases 1GB-300")
	$(PYTHON) -m benchmarks.engine $(or $(BENCH_ARGS),--page docs/benchmarks.md)

.PHONY: bench-serving
bench-serving: env ## Requests under a storm of sleeps, and an awake model's latency with and without Dormouse
	$(PYTHON) -m benchmarks.serving

.PHONY: gpu-kit
gpu-kit: env ## A folder for a GPU machine without network: checks, benchmarks, wheels, in build/gpu-kit
	@$(PYTHON) -m benchmarks.gpu.kit

.PHONY: gpu-page
gpu-page: env ## The figures of a run on a GPU into docs/benchmarks.md (GPU_JSON=path/to/gpu.json)
	@$(PYTHON) -m benchmarks.gpu.page $(or $(GPU_JSON),$(error write GPU_JSON=path/to/gpu.json))

.PHONY: bench-operator
bench-operator: env binaries ## The operator at 100, 1,000 and 10,000 models: twenty minutes, 3 GB of free RAM
	$(PYTHON) -m benchmarks.operator $(or $(BENCH_ARGS),--page docs/benchmarks-operator.md)

.PHONY: docs
docs: env ## The documentation as a site, in build/site; a warning is an error
	$(PYTHON) -m docsite build

.PHONY: docs-serve
docs-serve: env ## The same on this machine, with an address to open, until Ctrl-C
	$(PYTHON) -m docsite serve

.PHONY: cluster
cluster: env binaries ## A Kubernetes API and a Prometheus on this machine, until Ctrl-C
	$(PYTHON) -m localcluster up

.PHONY: clean
clean: ## Remove what was built; .venv and the cache stay
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.PHONY: env
env: $(SYNCED) ## The Python environment in .venv

$(SYNCED): pyproject.toml uv.lock
	@echo "Python environment: installing what uv.lock names into .venv (the first time several GB, for torch)"
	@scripts/uv sync --all-extras --frozen
	@touch $@

.PHONY: browser
browser: ## Chromium for the tests of the page, from apt when it is missing
	@scripts/install-browser

.PHONY: binaries
binaries: env ## etcd, kube-apiserver, kubectl, Prometheus, Helm: found, or built once into the cache
	@$(PYTHON) -m localcluster build > /dev/null
