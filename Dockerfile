# The runner as an image:
#     docker build --tag runner . && docker run --rm runner scrfd --server embedded --quick
# and beside a Triton: docker-compose.yml.

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /build
# .git stays outside of the build, so the revision that results carry comes in from outside
ARG GIT_REVISION=""
ENV RUNNER_GIT_REVISION=$GIT_REVISION
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY src src
# what comes with the program: the two scenarios and their models' configurations
COPY scenarios scenarios
COPY model_repository model_repository
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin runner && cp target/release/runner /runner

FROM debian:12.11-slim
# for `runner models fetch`, over HTTPS
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --create-home runner
COPY --from=build /runner /usr/local/bin/runner
WORKDIR /runner
# any user may write here: --user is often that of the folders mounted below
RUN mkdir results model_repository && chown runner:runner . results model_repository && chmod 1777 . results model_repository
USER 1000
ENTRYPOINT ["runner"]
