"""aks-audit-log: the Kubernetes audit log of AKS, from Event Hubs to Falco."""
