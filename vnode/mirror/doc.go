// Package mirror keeps, in the cloud namespace of a virtual node, copies of what the node's Pods refer to by name: ConfigMaps, Secrets,
// tokens of service accounts, and claims of shared file systems.
//
// Sources are read one by one, by the names that Pods give: it never lists or watches the Secrets of the cluster, and needs no right to.
// Each copy in use is compared with its source again and again, and changed after it; a source that is gone leaves its copy to the Pods
// that run with it. A copy that no Pod of the node and no cloud Pod refers to any more is removed after a while. What is in the cloud is
// found again by listing, so a restart loses nothing.
//
// It does not know how a Pod refers to a copy (translate.Translator does), and decides nothing about Pods: whoever makes a cloud Pod
// calls Ensure first.
package mirror
