# The doors. `make` lists them.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
INVENTORY ?= inventories/prod
ANSIBLE = .venv/bin/ansible-playbook -i $(INVENTORY)
PLAYBOOK = scripts/controller && $(ANSIBLE)
# For verbs whose result is what they say: that alone is printed.
REPORT = scripts/controller && ANSIBLE_STDOUT_CALLBACK=fairlead.site.plain $(ANSIBLE)
# What a terminal is needed for.
ATTACH = scripts/controller && scripts/attach $(ANSIBLE)
# Words of a person, as extra variables, whatever they hold: $(call given,run host) is {"run": "$RUN", "host": "$HOST"}.
given = -e "$$(.venv/bin/python -c 'import json, os, sys; print(json.dumps({n: os.environ.get(n.upper(), "") for n in sys.argv[1:]}))' $(1))"

help: ## list the doors
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## the whole site on a Debian host made here: prints its URL (a second run changes nothing)
	@scripts/demo up

demo-down: ## remove all that demo made
	@scripts/demo down

dev: ## production's roles on a Debian host made here, with the source mounted and development settings (SOURCE=... IMAGE=...)
	@scripts/dev up

dev-down: ## remove all that dev made
	@scripts/dev down

test: ## lint, unit tests, the example site's tests, molecule (under 30 minutes)
	@scripts/test quick

test-all: ## test, and the long proofs
	@scripts/test all

lint: ## yamllint, ruff, mypy, shellcheck, ansible-lint
	@scripts/test lint

unit: ## tests that need no container
	@scripts/test unit

molecule: ## molecule scenarios alone (SCENARIO=default)
	@scripts/test molecule $(SCENARIO)

site: ## site.yml on INVENTORY (default inventories/prod): all of the site, its application among it
	@$(PLAYBOOK) site.yml $(ARGS)

deploy: ## the application alone, as the inventory describes it, with no failed request (DRY=1 AGAIN=1 ACCEPT=destructive)
	@$(PLAYBOOK) playbooks/deploy.yml $(if $(DRY),--check --diff) $(if $(AGAIN),-e again=true) $(if $(ACCEPT),-e accept=$(ACCEPT)) $(ARGS)

rollback: ## back to the last good release, image and environment (RELEASE=id FORCE=1)
	@$(PLAYBOOK) playbooks/rollback.yml $(if $(RELEASE),-e release=$(RELEASE)) $(if $(FORCE),-e force=true) $(ARGS)

releases: ## what became of each release, and what serves (RELEASE=id AUDIT=1 FORMAT=json)
	@$(REPORT) playbooks/releases.yml -e format=$(or $(FORMAT),table) $(if $(RELEASE),-e release=$(RELEASE)) $(if $(AUDIT),-e audit=true) $(ARGS)

lock: ## who keeps others from deploying; keep everybody, or let them again (STATE=on|off MESSAGE='...')
	@$(REPORT) playbooks/lock.yml $(call given,state message) $(ARGS)

status: ## what runs where, and what is not as recorded; changes nothing (FORMAT=json)
	@$(REPORT) playbooks/status.yml -e format=$(or $(FORMAT),table) $(ARGS)

doctor: ## what would stop a deploy, each with its remedy; changes nothing (FORMAT=json)
	@$(REPORT) playbooks/doctor.yml -e format=$(or $(FORMAT),text) $(ARGS)

logs: ## what the site logged, all hosts in order (SINCE=10m GREP=words REQUEST=id FOLLOW=1 ARGS='--limit app')
	@$(if $(FOLLOW),$(ATTACH),$(REPORT)) playbooks/logs.yml $(call given,since grep request follow) $(ARGS)

trace: ## all lines of one request, of all hosts in order (REQUEST=id SINCE=1d)
	@$(MAKE) logs REQUEST=$(REQUEST) SINCE=$(or $(SINCE),1d)

alert-test: ## raise an alert that means nothing, and say by which ways it was delivered
	@$(PLAYBOOK) playbooks/alert_test.yml $(ARGS)

exec: ## a command in the running release (RUN='manage showmigrations', RUN=shell, RUN=dbshell, RUN=...; HOST=app2)
	@$(ATTACH) playbooks/exec.yml $(call given,run host) -e tty=$$([ -t 0 ] && [ -t 1 ] && echo true || echo false) $(ARGS)

parity: ## every difference between two sites, expected ones marked (A=inventories/dev B=inventories/prod)
	@$(MAKE) parity-side INVENTORY=$(A) SIDE="-e save=$(CURDIR)/.cache/parity.json"
	@$(MAKE) parity-side INVENTORY=$(B) SIDE="-e against=$(CURDIR)/.cache/parity.json"

parity-side:
	@mkdir -p .cache && $(REPORT) playbooks/parity.yml -e format=$(or $(FORMAT),table) $(SIDE) $(ARGS)

drain: ## take an app host or a replica out of the way of requests, or back in (HOST=app2 STATE=out|in)
	@$(PLAYBOOK) playbooks/drain.yml -e host=$(HOST) -e state=$(STATE)

push: ## push an image to the site's registry (IMAGE=shop:1.4, or a file made by docker save); prints site_image
	@$(PLAYBOOK) playbooks/push.yml -e image=$(IMAGE) $(ARGS)

maintenance: ## close the site for visitors, or open it (STATE=on|off MESSAGE='...' ALLOW=addresses that see it)
	@$(PLAYBOOK) playbooks/maintenance.yml $(call given,state message allow) $(ARGS)

bootstrap: ## let the deploy user in on hosts that have only a root login (HOST=app3)
	@$(PLAYBOOK) playbooks/bootstrap.yml $(if $(HOST),--limit $(HOST)) $(ARGS)

upgrade: ## upgrade the hosts' packages, drained, one host after the other (REBOOT=auto|true restarts hosts)
	@$(PLAYBOOK) playbooks/upgrade.yml -e reboot=$(or $(REBOOT),false) $(ARGS)

backup: ## take a backup of the database now (TYPE=full|diff|incr)
	@$(PLAYBOOK) playbooks/backup_now.yml -e type=$(or $(TYPE),diff) $(ARGS)

backups: ## what can be restored, how old it is, and how the last drill went; changes nothing
	@$(PLAYBOOK) playbooks/backup_status.yml $(ARGS)

drill: ## restore the newest backup into a throwaway cluster and check it, as the timer does
	@$(PLAYBOOK) playbooks/drill.yml $(ARGS)

throwaway: ## a copy of the database as it was (TARGET=2026-11-22T20:00:00Z|latest; STATE=absent removes it)
	@$(PLAYBOOK) playbooks/throwaway.yml -e target=$(TARGET) -e state=$(or $(STATE),present) $(ARGS)

replication: ## who is the primary, who follows it and how far behind; changes nothing
	@$(PLAYBOOK) playbooks/replication.yml $(ARGS)

switchover: ## make another database host the primary, with no failed request (TO=db2)
	@$(PLAYBOOK) playbooks/switchover.yml -e to=$(TO) $(ARGS)

promote: ## in an emergency: make a replica the primary in place of a lost one (TO=db2)
	@$(PLAYBOOK) playbooks/promote.yml -e to=$(TO) $(ARGS)

rebuild-replica: ## make a replica anew that fell behind, or of a former primary (HOST=db1)
	@$(PLAYBOOK) playbooks/rebuild_replica.yml -e host=$(HOST) $(ARGS)

restore: ## restore the whole database; the site is down meanwhile (TARGET=2026-11-22T20:00:00Z|latest)
	@$(PLAYBOOK) playbooks/restore.yml -e target=$(TARGET) $(ARGS)

rotate: ## replace a secret with no failed request (SECRET=database_password, secret_key, registry_pull_password ...)
	@$(PLAYBOOK) playbooks/rotate.yml -e secret=$(SECRET) $(ARGS)

rotate-authority: ## replace the authority by which the hosts trust each other, with no failed request
	@$(PLAYBOOK) playbooks/rotate_authority.yml

plan: ## the chain of capacities of INVENTORY as a table; changes nothing
	@$(PLAYBOOK) playbooks/plan.yml

bench: ## fresh and no-change runs of site.yml, timed by role; nginx beside others
	@scripts/controller && .venv/bin/python bench/converge && .venv/bin/python bench/nginx

controller: ## the controller's tools in .venv (ansible, molecule, linters)
	@scripts/controller

requirements: ## resolve anew what is locked: the controller's tools, the agents, Bugsink
	@scripts/controller lock

pgbouncer-rr: ## the package of the routing PgBouncer, made anew from Debian's current source, into build/
	@scripts/pgbouncer-rr build

build: ## the collection as an archive for ansible-galaxy
	@scripts/controller && .venv/bin/ansible-galaxy collection build --force --output-path build

clean: ## remove what the other doors left in this folder
	@rm -rf .venv .cache build .mypy_cache .ruff_cache .pytest_cache examples/site/.ruff_cache examples/site/.pytest_cache

.PHONY: requirements site rollback releases help demo demo-down dev dev-down test test-all lint unit molecule deploy status doctor logs trace alert-test exec parity parity-side bootstrap upgrade drain maintenance push rotate rotate-authority backup backups drill throwaway replication switchover promote rebuild-replica restore plan bench controller lock pgbouncer-rr build clean
