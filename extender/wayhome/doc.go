// Package wayhome moves Pods from the cloud to local nodes when there is room for them there. It is off unless a Pod,
// its workload, its namespace or the configuration asks for it (policy.WayHomeAnnotation).
//
// It moves one Pod of a workload at a time, and few in the cluster, and only while the workload is at rest. A Pod moves
// if the extender would place its successor on a local node now (placement.Home), a local node has room (package fit),
// and both have been so for a while. Where the workload has a surge, the successor is Ready before the cloud Pod is
// evicted: the Pod loses the label by which its ReplicaSet owns it, so the ReplicaSet creates another one. Everything
// else is evicted first. All evictions are requests, so disruption budgets hold.
//
// What has begun is recorded on the Pod (policy.MovingHome), so that any later leader finishes it or takes it back. It
// takes no slot, reserves no room and is not in the path of the scheduler. While no Pod may return, it makes no
// request at all.
package wayhome
