# One image, one binary, many roles: the command says which (`ingress`, `normalizer`, `sink`, `topics apply`, …).
# Plain instructions only, so that it builds with and without BuildKit.

ARG BUILD_IMAGE=rust:1-bookworm
ARG RUN_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential cmake pkg-config libssl-dev zlib1g-dev libcurl4-openssl-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# For --version; the image has no .git to ask.
ARG GIT_COMMIT
RUN cargo build --locked --release -p device-manager \
 && cp target/release/device-manager /device-manager \
 && rm -rf target

FROM ${RUN_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin device-manager \
 && install -d -o device-manager -g device-manager -m 0700 /etc/device-manager
COPY --from=build /device-manager /usr/local/bin/device-manager
USER 10001
# A scraper comes from another container or pod. The port is for the network of these only: publish 3000, not this one.
ENV MANAGEMENT_ADDRESS=0.0.0.0:9464
EXPOSE 3000 9464
# SIGTERM drains.
STOPSIGNAL SIGTERM
ENTRYPOINT ["device-manager"]
CMD ["--help"]
