#!/bin/sh
# Build the image with the builder that is there: docker, podman or buildah.
#   IMAGE       its name and tag (aks-audit-log:1.0.0)
#   BUILD_WITH  docker, podman or buildah, to choose the builder
#   LOCAL_BASES if set, make the base images from Debian's packages first (needs buildah)
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
image=${IMAGE:-aks-audit-log:$version}
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

usable() { # a client without its daemon cannot build
  case $1 in docker) docker info >/dev/null 2>&1 ;; *) command -v "$1" >/dev/null ;; esac
}

tool=${BUILD_WITH:-}
if [ -z "$tool" ]; then
  for each in docker podman buildah; do
    if usable "$each"; then tool=$each && break; fi
  done
fi
set -- --file Dockerfile.distroless --tag "$image" \
  --build-arg "COMMIT=$commit" --build-arg "VERSION=$version" .
case $tool in
docker | podman) exec "$tool" build "$@" ;;
buildah)
  driver=${STORAGE_DRIVER:-overlay}
  pull=--pull
  if [ -n "${LOCAL_BASES:-}" ]; then
    sh build/local_bases.sh
    pull=--pull=never
  fi
  # With chroot isolation, a build works without a daemon, namespaces and user mapping.
  exec buildah --storage-driver "$driver" build --isolation chroot --format docker "$pull" "$@"
  ;;
*) echo "make image: none of docker (with its daemon), podman and buildah is here" >&2 && exit 1 ;;
esac
