#!/usr/bin/env bash
# Create what main.bicep describes, and write the connection strings into a Kubernetes Secret.
# You may run it again: it changes what differs, and writes the Secret again.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
# shellcheck source=deploy/azure/lib.sh
. "$here/lib.sh"

usage() {
  cat <<'USAGE'
Usage: setup.sh -g GROUP -c CLUSTER [options] [-- NAME=VALUE …]

  -g GROUP      resource group for Event Hubs and the storage account; it has to exist
  -c CLUSTER    the AKS cluster
  -r GROUP      resource group of the cluster, if it is another one
  -a CATEGORY   kube-audit (default), kube-audit-admin or guard; may be repeated
  -n NAMESPACE  Kubernetes namespace of the Secret (default aks-audit-log); made if it is missing
  -s SECRET     name of the Secret (default aks-audit-log)
  -w            only show what would change in Azure
  -y            do not ask
  -h            this text

NAME=VALUE are further parameters of main.bicep, for example partitionCount=8 retentionHours=168.
The Secret goes to the cluster of the current kubectl context, which may be another cluster.
USAGE
}

GROUP='' CLUSTER='' CLUSTER_GROUP='' NAMESPACE=aks-audit-log SECRET=aks-audit-log YES='' WHATIF=''
categories=()
while getopts g:c:r:a:n:s:wyh option; do
  case "$option" in
    g) GROUP=$OPTARG ;;
    c) CLUSTER=$OPTARG ;;
    r) CLUSTER_GROUP=$OPTARG ;;
    a)
      case "$OPTARG" in
        kube-audit | kube-audit-admin | guard) categories+=("$OPTARG") ;;
        *) fail "-a $OPTARG: kube-audit, kube-audit-admin or guard" ;;
      esac
      ;;
    n) NAMESPACE=$OPTARG ;;
    s) SECRET=$OPTARG ;;
    w) WHATIF=1 ;;
    y) YES=1 ;;
    h)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
done
shift $((OPTIND - 1))
[ -n "$GROUP" ] && [ -n "$CLUSTER" ] || {
  usage >&2
  exit 2
}
[ ${#categories[@]} -gt 0 ] || categories=(kube-audit)
CLUSTER_GROUP=${CLUSTER_GROUP:-$GROUP}
need az
[ -n "$WHATIF" ] || need kubectl

location=$(az aks show -g "$CLUSTER_GROUP" -n "$CLUSTER" --query location -o tsv)
list=$(printf ',"%s"' "${categories[@]}")
parameters=(
  "clusterName=$CLUSTER"
  "clusterResourceGroup=$CLUSTER_GROUP"
  "location=$location"
  "logCategories=[${list:1}]"
  "$@"
)

if [ -n "$WHATIF" ]; then
  exec az deployment group what-if -g "$GROUP" -n "$DEPLOYMENT" -f "$here/main.bicep" \
    -p "${parameters[@]}"
fi

echo "Azure:      subscription $(az account show --query name -o tsv), group $GROUP, region $location"
echo "cluster:    $CLUSTER in $CLUSTER_GROUP, categories ${categories[*]}"
echo "Kubernetes: Secret $NAMESPACE/$SECRET, context $(kubectl config current-context)"
ask "Go ahead? Event Hubs and storage cost money from now on." || fail "nothing was done"

az deployment group create -g "$GROUP" -n "$DEPLOYMENT" -f "$here/main.bicep" \
  -p "${parameters[@]}" --output none

# Secrets are passed in files that only this user can read, because arguments show in process lists.
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
hubs=$(output eventHubsNamespaceName)
hub=$(output eventHubName)
storage=$(output storageAccountName)
az eventhubs eventhub authorization-rule keys list -g "$GROUP" --namespace-name "$hubs" \
  --eventhub-name "$hub" -n "$(output listenRuleName)" --query primaryConnectionString -o tsv \
  | tr -d '\r\n' >"$work/EHUBNAMESPACECONNECTIONSTRING"
az storage account show-connection-string -g "$GROUP" -n "$storage" --query connectionString -o tsv \
  | tr -d '\r\n' >"$work/BLOBSTORAGECONNECTIONSTRING"
[ -s "$work/EHUBNAMESPACECONNECTIONSTRING" ] || fail "no connection string for Event Hubs"
[ -s "$work/BLOBSTORAGECONNECTIONSTRING" ] || fail "no connection string for the storage account"

kubectl get namespace "$NAMESPACE" >/dev/null 2>&1 || kubectl create namespace "$NAMESPACE"
kubectl create secret generic "$SECRET" -n "$NAMESPACE" --dry-run=client -o yaml \
  --from-file="$work/EHUBNAMESPACECONNECTIONSTRING" \
  --from-file="$work/BLOBSTORAGECONNECTIONSTRING" \
  | kubectl apply --server-side --field-manager=aks-audit-log-setup --force-conflicts -f -

cat <<DONE

Done. What the forwarder has to be told besides the Secret:

  EVENTHUBNAME=$hub
  CONSUMERGROUP=$(output consumerGroupName)
  BLOBCONTAINERNAME=$(output containerName)
  WEBSINKURL=<your Falco>

Azure Monitor may take a quarter of an hour until it sends the first events.
DONE
