# The image of every role: `docker build --tag batchline .`, then `docker run batchline worker`, `exporter`, `doctor`, ...
# `docker build --target demo --tag batchline:demo .` builds the same with a store and the provider emulator inside.

# Any image with Debian's apt and a python3 of 3.11 or newer with venv. To build the same again tomorrow, give it with its
# digest: --build-arg BASE_IMAGE=python:3.13-slim-trixie@sha256:...
ARG BASE_IMAGE=python:3.13-slim-trixie

# Two environments from hash-checked locks; wheels only, so no compiler is needed here either.
FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_COMPILE=1 PIP_ONLY_BINARY=:all: PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY image/build.lock image/runtime.lock image/
# pip stays in an environment of its own and installs into the other one, which goes into the image without it.
RUN python3 -m venv tools \
    && tools/bin/pip install --quiet --require-hashes -r image/build.lock \
    && python3 -m venv --without-pip /opt/batchline \
    && tools/bin/pip --python /opt/batchline/bin/python install --quiet --require-hashes -r image/runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY worker worker
RUN tools/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist . \
    && tools/bin/pip --python /opt/batchline/bin/python install --quiet --no-deps --no-index dist/*.whl \
    && tools/bin/pip --python /opt/batchline/bin/python check \
    && /opt/batchline/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/batchline/lib

FROM build AS build-demo
COPY image/demo.lock image/
RUN tools/bin/pip --python /opt/batchline/bin/python install --quiet --require-hashes -r image/demo.lock \
    && /opt/batchline/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/batchline/lib

FROM ${BASE_IMAGE} AS runtime
# Debian keeps one version of a package in a release: a version named here would stop to exist with the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates tini \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
    # What a base image has for installing packages is of no use on a root that cannot be written.
    && { ! python3 -m pip --version >/dev/null 2>&1 || python3 -m pip uninstall --yes --root-user-action=ignore pip; } \
    && rm -rf "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')/ensurepip" \
    # The official Python images come without the standard library's bytecode, and nothing can write it later.
    && python3 -m compileall -q -j 0 -x '/(tests?|idlelib|turtledemo|dist-packages|site-packages)/' \
        "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" \
    && groupadd --gid 10001 batchline \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin batchline \
    # For `batchline run`: docker run --volume "$PWD:/data" batchline run tickets.jsonl --output answers.jsonl
    && install --directory --owner 10001 --group 10001 /data
ENV PATH=/opt/batchline/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /data
USER 10001:10001
# A worker starts no processes, and gets SIGTERM itself: tini without -g.
ENTRYPOINT ["tini", "--", "batchline"]
CMD ["worker"]
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="batchline" \
    org.opencontainers.image.description="Queue-driven worker daemon between applications and the LLM providers' half-price batch APIs" \
    org.opencontainers.image.licenses="MIT" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}"

FROM runtime AS demo
COPY --from=build-demo /opt/batchline /opt/batchline
CMD ["demo"]

# The last stage is what is built without --target.
FROM runtime AS production
COPY --from=build /opt/batchline /opt/batchline
