// Package cci talks to CCI, Huawei Cloud's serverless container service, in either of its generations: namespaces, networks, Pods with
// their logs, events and commands, ConfigMaps and Secrets, over HTTP signed with an access key. No version of the vendor's SDK has this
// service, and the SDK's own client cannot be cancelled: only its signer is used here.
//
// It knows what the service's answers mean for a caller (see Kind), paces itself and repeats reads. It does not know
// Kubernetes Pods (vnode/translate does), keeps no state about the cloud (vnode/inventory does), and never repeats a
// create: whoever creates must look first what became of the last try.
package cci
