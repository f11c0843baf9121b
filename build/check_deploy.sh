#!/usr/bin/env bash
# The checks of deploy/ and of Dockerfile.distroless: `make check-deploy`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools="$PWD/.work/bin"
python="$PWD/.work/deploy-venv/bin"
rendered="$PWD/.work/deploy"
chart=deploy/chart
# The oldest version that the chart accepts, the oldest with native sidecars, and a newer one.
versions=(1.27.0 1.29.0 1.36.0)

step() { printf -- '-- %s\n' "$1"; }

texts() {
  step "yamllint, shellcheck, hadolint"
  "$python/yamllint" --strict -c build/yamllint.yaml deploy
  mapfile -t scripts < <(git ls-files --cached --others --exclude-standard 'deploy/*.sh' build/check_deploy.sh build/deploy_tools.sh)
  PATH="$python:$PATH" "$python/shellcheck" -x "${scripts[@]}"
  "$python/hadolint" Dockerfile.distroless
  step "Bicep (grammar only), the scripts for Azure"
  "$python/python" -c 'import pathlib, sys; from pycep import BicepParser
for name in sys.argv[1:]: BicepParser().parse(file_path=pathlib.Path(name))' deploy/azure/*.bicep
  "$python/python" -m json.tool deploy/azure/main.parameters.example.json >/dev/null
  deploy/azure/test.sh
  step "the chart's README has every value"
  "$python/python" build/chart_docs.py
}

# refused WORDS ARGUMENTS…: the chart must refuse these values with a message that has these words.
refused() {
  local words=$1 answer
  shift
  if answer=$("$tools/helm" template t "$chart" --kube-version "${versions[0]}" "$@" 2>&1); then
    echo "check_deploy: the chart takes $*" >&2
    return 1
  fi
  if ! grep -qF -- "$words" <<<"$answer"; then
    echo "check_deploy: $*: not refused with \"$words\" but: $answer" >&2
    return 1
  fi
}

helm_checks() {
  local values version name least="-f $chart/ci/minimal-values.yaml"
  step "helm lint, helm template"
  for values in "$chart"/ci/*.yaml; do
    name=$(basename "$values" -values.yaml)
    "$tools/helm" lint --strict --quiet --kube-version "${versions[0]}" -f "$values" "$chart"
    for version in "${versions[@]}"; do
      "$tools/helm" template release "$chart" --namespace audit --kube-version "$version" \
        -f "$values" >"$rendered/chart-$name-$version.yaml"
    done
  done
  step "helm package, helm template of the package"
  "$tools/helm" package "$chart" --destination "$rendered" >/dev/null
  "$tools/helm" template release "$rendered"/aks-audit-log-*.tgz --namespace audit \
    --kube-version "${versions[0]}" -f "$chart/ci/production-values.yaml" \
    | cmp - "$rendered/chart-production-${versions[0]}.yaml"
  step "what the chart has to refuse"
  # shellcheck disable=SC2086 # the words of $least are arguments
  {
    refused "secret.existingSecret is required" --set config.WEBSINKURL=http://falco:9765/k8s-audit
    refused "WEBSINKURL is missing" --set secret.existingSecret=s
    refused "WEBSINKURL is set twice" $least --set secret.keys.WEBSINKURL=url
    refused "holds credentials" --set secret.existingSecret=s --set config.WEBSINKURL=https://u:p@falco/k8s-audit
    refused "BLOBSTORAGECONNECTIONSTRING is missing" $least --set secret.keys.BLOBSTORAGECONNECTIONSTRING=
    refused "EHUBNAMESPACECONNECTIONSTRING is missing" $least --set secret.keys.EHUBNAMESPACECONNECTIONSTRING=
    refused "terminationGracePeriodSeconds has to be more" $least --set terminationGracePeriodSeconds=35
    refused "terminationGracePeriodSeconds has to be more" $least --set config.SHUTDOWNGRACE=1m --set terminationGracePeriodSeconds=60
    refused "is for one replica" -f "$chart/ci/local-checkpoints-values.yaml" --set replicas=2
    refused "exclude each other" -f "$chart/ci/created-secret-values.yaml" --set secret.existingSecret=s
    refused "serviceMonitor needs service.enabled" $least --set serviceMonitor.enabled=true --set service.enabled=false
    refused "would scrape twice" $least --set serviceMonitor.enabled=true --set podMonitor.enabled=true
    refused "needs workloadIdentity.clientId" $least --set workloadIdentity.enabled=true
    refused "POSTMAXRETRY" $least --set config.POSTMAXRETRY=3
    refused "replcas" $least --set replcas=3
    refused "EHUBNAMESPACECONNECTIONSTRING" $least --set config.EHUBNAMESPACECONNECTIONSTRING=secret
    refused "pullPolicy" $least --set image.pullPolicy=Sometimes
  }
}

kustomize_checks() {
  local overlay
  step "kustomize build"
  for overlay in deploy/kubernetes/overlays/*/; do
    "$tools/kustomize" build "$overlay" >"$rendered/kustomize-$(basename "$overlay").yaml"
  done
}

promtool_checks() {
  step "promtool: rules, their tests, the dashboard, a live scrape"
  "$tools/promtool" check rules --lint=all --lint-fatal "$chart/files/rules.yaml" >/dev/null
  "$tools/promtool" test rules "$chart/tests/rules_test.yaml" >/dev/null
  .venv/bin/python build/live_scrape.py >"$rendered/metrics.txt"
  # The four counters of aks-audit-log-go do not end in _total: their names must not change.
  # shellcheck disable=SC2016
  "$tools/promtool" check metrics <"$rendered/metrics.txt" >"$rendered/promtool.txt" 2>&1 || true
  if grep -vE '^falco_aks_audit_log_events(_success|_errors|_retry)? counter metrics should have "_total" suffix$' \
    "$rendered/promtool.txt"; then
    echo "check_deploy: promtool finds fault with the metrics" >&2
    return 1
  fi
  "$python/python" build/check_dashboard.py "$rendered/metrics.txt" "$rendered/dashboard-rules.yaml"
  "$tools/promtool" check rules "$rendered/dashboard-rules.yaml" >/dev/null
}

for tool in helm kustomize promtool; do
  if [ ! -x "$tools/$tool" ] && [ -n "${REQUIRE_DEPLOY_CHECKS:-}" ]; then
    echo "check_deploy: there is no $tool, and REQUIRE_DEPLOY_CHECKS is set" >&2
    exit 1
  fi
done
rm -rf "$rendered"
mkdir -p "$rendered"
texts
cp deploy/kubernetes/secret.example.yaml "$rendered/"
[ ! -x "$tools/helm" ] || helm_checks
[ ! -x "$tools/kustomize" ] || kustomize_checks
step "the manifests: schemas, hardening, environment"
PYTHONPATH=$PWD "$python/python" build/check_manifests.py "$rendered"/*.yaml
[ ! -x "$tools/promtool" ] || promtool_checks
echo "what was checked of deploy/ is well"
