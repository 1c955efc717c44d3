// Package mirror keeps copies of the objects that the Pods of a virtual node refer to by name, in the node's cloud
// namespace: ConfigMaps, Secrets, tokens of service accounts, and claims of shared file systems.
//
// Sources are read one by one, by the names that Pods give: the package never lists or watches the Secrets of the
// cluster, and needs no permission to. Each copy in use is compared with its source periodically and updated from it.
// If a source is gone, its copy stays for the Pods that run with it. A copy to which no Pod of the node and no cloud
// Pod refers any more is removed after a while. The copies in the cloud are found by listing, so a restart loses
// nothing.
//
// The package does not know how a Pod refers to a copy (translate.Translator does), and decides nothing about Pods.
// The caller calls Ensure before it creates a cloud Pod.
package mirror
