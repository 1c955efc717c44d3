// Package check checks in a record whether the promises I1 to I12 were kept. docs/prove.md defines each of them.
//
// It processes the record once, in order, and derives the state of the cluster from it. It counts slots itself: of the
// ledger that it checks it uses nothing but the rules of package policy. It sends no requests.
package check
