# One image for every role; SERVICE_ROLE selects the parts that a container serves. `make image` builds it.
# Any base with Python 3.11 or newer as `python3` will do.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS build
WORKDIR /app
# Dependencies before code, because they change less often. dumb-init, a program of 18 kB, does the duties of PID 1.
COPY requirements.txt requirements-build.txt requirements-otel.txt constraints.txt ./
ARG EXTRAS=""
RUN python3 -m venv /venv && \
    /venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: -r requirements.txt \
        ${EXTRAS:+-r "$EXTRAS"} dumb-init==1.2.5.post1 && \
    /venv/bin/pip install --no-cache-dir --disable-pip-version-check --only-binary :all: --target /build \
        -r requirements-build.txt && \
    find /venv -name "*.po" -delete
COPY manage.py ./
COPY locale locale
COPY messaging messaging
COPY messaging_site messaging_site
COPY static static
COPY templates templates
# Makes the hashed files and the bytecode, as nothing can be written at run time. No setting here reaches the image.
RUN PYTHONPATH=/build DEPLOYMENT_MODE=kubernetes SECRET_KEY=unused-while-collecting ALLOWED_HOSTS=localhost \
    DATABASE_URL=postgres://localhost/unused REDIS_URL=redis://localhost \
    /venv/bin/python manage.py collectstatic --noinput --verbosity=0 && \
    /venv/bin/python -m compileall -q manage.py messaging messaging_site && \
    /venv/bin/pip uninstall --yes --quiet pip

FROM ${BASE}
ARG VERSION=dev
LABEL org.opencontainers.image.title="User Admin Messaging" \
      org.opencontainers.image.description="Visitors write, staff answer, in real time and with nothing lost" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}"
COPY --from=build /venv /venv
COPY --from=build /app /app
WORKDIR /app
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DEPLOYMENT_MODE=kubernetes \
    HOST=0.0.0.0 \
    MESSAGING_VERSION=${VERSION}
# A number, so that Kubernetes can verify that it is not root.
USER 10001:10001
EXPOSE 8080 8081
# For Docker and Podman; Kubernetes has probes of its own.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", "import http.client as c, os, sys; e = os.environ.get; probe = c.HTTPConnection(e('MESSAGING_HOST') or e('HOST'), int(e('HEALTH_CHECK_PORT') or 8081), timeout=2); probe.request('GET', '/ready'); sys.exit(probe.getresponse().status != 200)"]
# PID 1 forwards SIGTERM to the server, which drains, exits with the server's code, and reaps orphans of `exec`. No shell.
ENTRYPOINT ["dumb-init", "--"]
CMD ["python", "-m", "messaging_site.server"]
