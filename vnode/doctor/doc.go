// Package doctor is "vnode doctor": it finds out why a virtual node would not work with an account of the cloud, and
// what the service of a region does where that is not documented. Its checks only read, unless the user asks it to
// create a namespace with a Pod. It removes what it creates, also after an interrupt, and what an earlier run has left.
// It needs no cluster, changes no object of others, and decides nothing: vnode works the same with and without it.
package doctor
