// Package endure tests a virtual node over many rounds. Each round creates, changes and deletes workloads, during a
// fault of the cloud and with kill -9 of the virtual node at a random moment. A printed seed determines all of it. At
// the end the cloud must have the same Pods as the cluster, it must never have created two for one Pod, and no Pod may
// have failed that could have run.
//
// `make endure` plays 200 rounds. The tests play a few.
package endure
