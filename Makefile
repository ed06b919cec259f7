# What a developer does. Every module of the repository is meant where a
# target says "all": the ones that hold a go.mod.

MODULES     := $(patsubst %/go.mod,%,$(shell git ls-files --cached --others --exclude-standard '*go.mod'))
MODULES     := $(patsubst go.mod,.,$(MODULES))
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 30m
BENCHCOUNT  ?= 6
ROUNDS      ?= 5

.PHONY: all test lint bench bench-redis bench-beanstalkd bench-rabbitmq fuzz seeds help

all: lint test

# RabbitMQ needs the processors for itself: beside it the tests of other brokers,
# which look at the time, fail.
test: ## all tests of all modules, with the race detector, on real brokers
	@integration/setup
	@set -e; export GOFER_REQUIRE_BROKERS=1; for m in $(MODULES); do echo "== $$m"; \
		(cd $$m && go test -race -shuffle=on $$(go list ./... | grep -v '/integration/rabbitmq$$')); done
	@cd integration && GOFER_REQUIRE_BROKERS=1 go test -race -shuffle=on ./rabbitmq

lint: ## gofmt, vet and staticcheck
	@unformatted=$$(gofmt -l .); test -z "$$unformatted" || { echo "not gofmt'ed:"; echo "$$unformatted"; exit 1; }
	@set -e; for m in $(MODULES); do (cd $$m && go vet ./... && go run $(STATICCHECK) ./...); done

bench: ## benchmarks of the memory backend, for benchstat
	go test -run='^$$' -bench=. -benchmem -count=$(BENCHCOUNT) . ./backend/... ./retry ./store

bench-redis: ## the Redis driver beside its peers on a real server, ROUNDS times (5)
	@integration/setup
	cd integration && GOFER_REQUIRE_BROKERS=1 go test -run='^$$' -bench=. -benchtime=$(ROUNDS)x -timeout=0 ./bench/redis

bench-beanstalkd: ## the same of the beanstalkd driver
	@integration/setup
	cd integration && GOFER_REQUIRE_BROKERS=1 go test -run='^$$' -bench=. -benchtime=$(ROUNDS)x -timeout=0 ./bench/beanstalkd

bench-rabbitmq: ## the same of the RabbitMQ driver
	@integration/setup
	cd integration && GOFER_REQUIRE_BROKERS=1 go test -run='^$$' -bench=. -benchtime=$(ROUNDS)x -timeout=0 ./bench/rabbitmq

fuzz: ## every fuzz target for FUZZTIME (30m)
	@set -e; grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			echo "== $$target"; \
			(cd $$(dirname "$$file") && go test -run='^$$' -fuzz="^$$target\$$" -fuzztime=$(FUZZTIME) .); \
		done; \
	done

seeds: ## the simulation, over SEEDS seeds (100000)
	SEEDS=$${SEEDS:-100000} go test -run='^TestSimulation' -timeout=0 -v .

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST)
