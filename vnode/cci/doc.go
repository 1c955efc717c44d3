// Package cci is a client of CCI, the serverless container service of Huawei Cloud, in both of its generations:
// namespaces, networks, Pods with their logs, events and commands, ConfigMaps, Secrets and volumes. It sends HTTP
// requests that are signed with an access key. No version of the vendor's SDK contains this service, and requests of
// the SDK's HTTP client cannot be canceled. This package therefore uses only the signer of the SDK.
//
// The package classifies each error by what the caller can do about it (see Kind), limits its request rate and retries
// reads. It does not know Kubernetes Pods (package translate does) and keeps no state about the cloud (package
// inventory does). It never retries a create: the caller must first find out whether the previous attempt succeeded.
package cci
