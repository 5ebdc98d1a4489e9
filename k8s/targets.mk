# The image and the cluster: docs/kubernetes.md. Each target wraps plain tools and nothing more.

IMAGE ?= user-admin-messaging:dev
ENGINE ?= docker
ENV ?= development
KUBECTL ?= .venv-k8s/bin/kubectl
KIND ?= kind
TIMEOUT ?= 300s
OVERLAY = k8s/overlays/$(ENV)
SECRETS = $(if $(filter development,$(ENV)),k8s/overlays/development/.env)
IN_NAMESPACE = $(KUBECTL) --namespace messaging-$(ENV)
OURS := --selector=app.kubernetes.io/part-of=user-admin-messaging
URL ?= $(shell sed -n 's/^CSRF_TRUSTED_ORIGINS=//p' $(OVERLAY)/settings.env)
SMOKE ?= $(RUN) manage.py messaging_smoke $(URL)

.PHONY: image test-image test-compose compose-deploy image-push k8s-render k8s-validate k8s-deploy k8s-rollback k8s-status k8s-destroy kind-up kind-down

image: ## build the image (IMAGE=name:tag; ENGINE=podman)
	$(ENGINE) build --tag $(IMAGE) --build-arg VERSION=$(lastword $(subst :, ,$(IMAGE))) .

test-image: services $(VENV)/.dev .venv-k8s/.installed ## test the image and its containers, as `make test` does (Linux, root)
	@test -n '$(CONTAINERS)' || { echo 'The tests of the image need Linux and root' >&2; exit 1; }
	$(VENV)/bin/pytest -m image

test-compose: services $(VENV)/.dev .venv-k8s/.installed ## run compose.yaml with podman-compose and test it, as `make test` does (Linux, root)
	$(VENV)/bin/pytest -m image tests/platforms/compose

compose-deploy: $(VENV)/.runtime ## update the site of `docker compose up` to this checkout and test; roll back on failure
	@compose/deploy

image-push: ## push IMAGE to its registry
	$(ENGINE) push $(IMAGE)

k8s-render: .venv-k8s/.installed $(SECRETS) ## print the manifests of ENV=development, staging or production
	@$(KUBECTL) kustomize $(OVERLAY)

k8s-validate: .venv-k8s/.installed $(SECRETS) ## check the manifests of ENV with Kubernetes' schemas and checkov
	@umask 077 && $(KUBECTL) kustomize $(OVERLAY) > .venv-k8s/$(ENV).yaml
	@for version in 1.35 1.36 1.37; do .venv-k8s/bin/kubernetes-validate \
		--strict --quiet --kubernetes-version $$version .venv-k8s/$(ENV).yaml || exit 1; done
	@.venv-k8s/bin/checkov --config-file k8s/checkov.yaml --file .venv-k8s/$(ENV).yaml

# What fails is undone: back to the revisions from before, which are no change where a Deployment kept its own.
k8s-deploy: .venv-k8s/.installed $(SECRETS) $(VENV)/.runtime ## roll out ENV and test; roll back on failure
	@test -n "$$SMOKE_USERNAME" || test '$(origin SMOKE)' != file || { \
		echo 'Set SMOKE_USERNAME and SMOKE_PASSWORD, or SMOKE=true to skip the test' >&2; exit 1; }
	@before=$$($(IN_NAMESPACE) get deployments $(OURS) --output \
		'jsonpath={range .items[*]}{.metadata.name}={.metadata.annotations.deployment\.kubernetes\.io/revision} {end}') || exit 1; \
	{ $(IN_NAMESPACE) delete job messaging-migrate --ignore-not-found && \
	  $(KUBECTL) apply --kustomize $(OVERLAY) && \
	  $(IN_NAMESPACE) wait job messaging-migrate --for=condition=complete --timeout=$(TIMEOUT) && \
	  $(IN_NAMESPACE) rollout status deployment $(OURS) --timeout=$(TIMEOUT) && \
	  ( $(SMOKE) ); } || \
	{ for server in $$before; do \
	    $(IN_NAMESPACE) rollout undo deployment $${server%=*} --to-revision=$${server#*=}; done; \
	  echo "The rollout failed. Restored: $${before:-nothing, because there was no earlier rollout}" >&2; exit 1; }

k8s-rollback: .venv-k8s/.installed ## roll back every Deployment of ENV to its previous revision
	$(IN_NAMESPACE) rollout undo deployment $(OURS)
	$(IN_NAMESPACE) rollout status deployment $(OURS) --timeout=$(TIMEOUT)

k8s-status: .venv-k8s/.installed ## show what runs in ENV
	@$(IN_NAMESPACE) get deployments,statefulsets,jobs,cronjobs,pods,horizontalpodautoscalers,ingresses

k8s-destroy: .venv-k8s/.installed $(SECRETS) ## remove ENV with its data (CONFIRM=its name)
	@test '$(CONFIRM)' = '$(ENV)' || { echo 'This removes $(ENV) with its data: add CONFIRM=$(ENV)' >&2; exit 1; }
	$(KUBECTL) delete --kustomize $(OVERLAY) --ignore-not-found

kind-up: .venv-k8s/.installed ## create a local cluster with an ingress controller and IMAGE
	$(KIND) create cluster --name messaging --config k8s/kind/cluster.yaml
	$(KUBECTL) apply --kustomize k8s/kind
	$(KIND) load docker-image $(IMAGE) --name messaging
	$(KUBECTL) --namespace haproxy-controller rollout status deployment haproxy-kubernetes-ingress --timeout=$(TIMEOUT)

kind-down: ## remove the local cluster
	$(KIND) delete cluster --name messaging

# The development environment's own secrets, ignored by git.
k8s/overlays/development/.env:
	@umask 077 && $(PYTHON) -c 'import secrets; key, redis, postgres = (secrets.token_urlsafe(48) for _ in range(3)); \
		print(f"secret-key={key}\nredis-password={redis}\npostgres-password={postgres}\n" \
		f"database-url=postgres://messaging:{postgres}@postgres:5432/messaging")' > $@
