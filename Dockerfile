# One image with one binary. The command selects the role: `ingress`, `normalizer`, `sink`, `topics apply`, …
# Uses basic instructions only, so that it builds with and without BuildKit.

ARG BUILD_IMAGE=rust:1-bookworm
ARG RUN_IMAGE=debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends build-essential cmake pkg-config libssl-dev zlib1g-dev libcurl4-openssl-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Shown by --version; there is no .git in the build context.
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
# A scraper connects from another container or pod. Keep port 9464 inside their network: publish 3000 only.
ENV MANAGEMENT_ADDRESS=0.0.0.0:9464
EXPOSE 3000 9464
# On SIGTERM a stage finishes the work in progress before it ends.
STOPSIGNAL SIGTERM
ENTRYPOINT ["device-manager"]
CMD ["--help"]
