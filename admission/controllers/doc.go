// Package controllers tends Pods after their creation. Tolerate lets Pods that wait onto virtual nodes once they may burst, and
// tells Pods what of ours keeps them waiting and what is malformed on them; Rank makes cloud Pods the first that a ReplicaSet gives up.
//
// Both look at what is, not at what happened: a start, a new leader and a regular pass put right whatever was missed. They
// create and delete nothing but Events, and never write over a value of the user's.
package controllers
