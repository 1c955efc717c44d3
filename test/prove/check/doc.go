// Package check finds out from a record whether the promises I1 to I7 were kept. docs/prove.md states each of them exactly.
//
// It goes through the record once, in order, and keeps the state of the cluster as the record tells it. Its count of slots is its own: it uses
// nothing of the ledger that it checks but the rules of package policy, and it makes no request.
package check
