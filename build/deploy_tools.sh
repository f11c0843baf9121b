#!/usr/bin/env bash
# Put helm, kustomize and promtool into .work/bin, in the versions named here. If a tool is not
# available, say so and continue; with REQUIRE_DEPLOY_CHECKS, fail.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

HELM=v3.22.0
KUSTOMIZE=v5.8.1
PROMETHEUS=v0.316.0

bin="$PWD/.work/bin"
mkdir -p "$bin"

missing() {
  if [ -n "${REQUIRE_DEPLOY_CHECKS:-}" ]; then
    echo "make check-deploy: no $1, and REQUIRE_DEPLOY_CHECKS is set: $2" >&2
    exit 1
  fi
  echo "make check-deploy: no $1, so its checks are skipped: $2"
}

# go_tool NAME PACKAGE VERSION: a marker beside the tool names the version that was built.
go_tool() {
  [ ! -x "$bin/$1" ] || [ ! -e "$bin/.$1-$3" ] || return 0
  if ! command -v go >/dev/null; then
    missing "$1" "it is built with Go, which is not here"
    return 0
  fi
  echo "building $1 $3"
  GOBIN="$bin" GOFLAGS="-p=${GO_JOBS:-1} -buildvcs=false" nice go install "$2@$3" \
    || { missing "$1" "go install failed"; return 0; }
  touch "$bin/.$1-$3"
}

# promtool is a part of Debian's package prometheus; only this one file is taken from it.
get_promtool() {
  [ ! -x "$bin/promtool" ] || return 0
  if command -v promtool >/dev/null; then
    ln -sf "$(command -v promtool)" "$bin/promtool"
    return 0
  fi
  if command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null && from_debian; then
    return 0
  fi
  go_tool promtool github.com/prometheus/prometheus/cmd/promtool "$PROMETHEUS"
}

from_debian() {
  local work
  work=$(mktemp -d)
  # A fresh machine does not have package lists, so nothing is found; root can fetch them.
  (cd "$work" && { apt-get download -qq prometheus 2>/dev/null \
    || { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get download -qq prometheus 2>/dev/null; }; }) \
    && dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -xO ./usr/bin/promtool >"$work/promtool" \
    && install -m 755 "$work/promtool" "$bin/promtool"
  local status=$?
  rm -rf "$work"
  return $status
}

go_tool helm helm.sh/helm/v3/cmd/helm "$HELM"
go_tool kustomize sigs.k8s.io/kustomize/kustomize/v5 "$KUSTOMIZE"
get_promtool
