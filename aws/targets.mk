# AWS: docs/aws.md.

STAGE ?= production
PARAMETERS ?=

.PHONY: aws-package aws-deploy aws-destroy aws-cold-start

aws-package: .venv-aws/.installed ## build the Lambda package (STAGE=production)
	@.venv-aws/bin/python -m aws package $(STAGE)

aws-deploy: .venv-aws/.installed $(VENV)/.runtime ## deploy to AWS and test; roll back on failure (STAGE=…, PARAMETERS='MemorySize=1024 …')
	@.venv-aws/bin/python -m aws deploy $(STAGE) $(PARAMETERS)

aws-destroy: .venv-aws/.installed ## remove the stack of aws-deploy (STAGE=…)
	@.venv-aws/bin/python -m aws destroy $(STAGE)

aws-cold-start: services $(VENV)/.dev .venv-aws/.installed .venv-ministack/.installed ## measure the cold start of the function
	@.venv-aws/bin/python -m aws package production
	@$(RUN) -m bench.cold_start

# The same versions as everywhere: pip takes them from requirements.txt as constraints, which know no extras.
.venv-aws/.installed: requirements-aws.txt requirements-build.txt requirements.txt constraints.txt
	@test -x .venv-aws/bin/python || $(PYTHON) -m venv .venv-aws
	@echo 'Installing $<'
	@sed -e '/^-c /d' -e 's/\[[^]]*\]//' requirements.txt > .venv-aws/versions.txt
	@.venv-aws/bin/pip install --quiet --disable-pip-version-check -r $< -c .venv-aws/versions.txt
	@touch $@
