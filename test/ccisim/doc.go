// Package ccisim simulates Huawei Cloud CCI: an HTTP API with the vendor's signatures, schema, admission, statuses,
// delays and errors, over objects that change with time as those of the service do. All other code in this repository
// is tested against it, so it is as strict as the real service is known to be. Where that is not known, it has a policy
// (Policies).
//
// It serves namespaces, networks (yangtse), Pods with their logs and exec, ConfigMaps, Secrets, persistent volumes and
// claims, image snapshots, Events, the account's feature gates and agency, and IAM's tokens for access keys. With
// Config.Subnets it also serves what the VPC API shows of these subnets. It has one account. Attach and port forwarding
// do not exist in the real service either. CCI 1.0 is served next to 2.0, with the same behavior of Pods and with
// objects of its own.
//
// What neither vnode nor kubectl uses with these objects is not served: deployments, replica sets, services,
// autoscalers, storage classes, pool bindings, and the configuration of observability.
//
// New returns a simulator, Handler serves it, Run lets its time pass, Close ends it. With a state file, all objects,
// the faults and the policies survive a stop and a kill. The lines of logs do not.
//
// # Rooms
//
// The package only assembles the others. Data flows one way: control -> this package -> api -> podlife -> store ->
// objects.
//
//	objects  the types of the objects, and the resources of both generations of the API
//	faults   injected faults and policies; api and podlife read them, store saves them
//	store    objects, resource versions, history, lists, the state file; the only lock over objects
//	podlife  how objects change as time passes: scheduling, containers, processes, deletion, networks, claims
//	vpc      the networks of Pods
//	container  the file systems, users and capabilities of processes
//	api      routes, authentication, validation and admission, lists, watches, streams of logs and exec
//	control  the simulator's own API under /_sim/
//
// The simulator is held to evidence that does not come from its authors: package contract replays the requests of
// another client, and package kubectl runs kubectl.
//
// # What containers do
//
// A container of image ccisim/process (ProcessImage) is a real process of this machine, if Config.Processes allows
// it: its command runs in a directory of its Pod, which is removed with the Pod, as the unprivileged user 65534 if
// the simulator runs as root. Its log is what the process prints. It gets the variables of its container, also from
// ConfigMaps and Secrets, but no volumes and no probes. Commands of exec run next to it.
//
// With Config.Networks (Linux, root, iproute2), a Pod with processes has a network namespace with its address. The
// networks of all Pods are a VPC: a bridge for each subnet, a gateway between them, and a link to this machine, which
// has routes to the subnets. The VPC has routes back only to Config.Routes, and drops other packets. A container has a
// file system of its own, with /etc/resolv.conf, /etc/hosts, its volumes and the programs of this machine, and a PID
// namespace. Its processes have the user of its securityContext and exactly the capabilities that it asks for (policy
// refuseNetAdmin). Startup, readiness and liveness probes run. Changes of ConfigMaps and Secrets reach the volumes.
// Claims and NFS are empty directories. Besides ProcessImage, Config.Images are processes, as root unless their
// securityContext says otherwise. Pods of CCI 1.0 have no networks. Everything ends with the simulator, however that
// ends; only a directory of volumes remains in the directory for temporary files if it was killed.
//
// All other containers are simulated. In them, exec knows "id -u", and "cat" of /etc/resolv.conf and of mounted
// ConfigMaps and Secrets. Annotations of their Pod, under BehaviorPrefix, say what they do:
//
//	ccisim.spillway.io/run-seconds: "2.5"      ends after this time ("forever": never)
//	ccisim.spillway.io/exit-code: "3"          ends with this code
//	ccisim.spillway.io/crash-loop: "true"      ends with 1 soon after each start
//	ccisim.spillway.io/ready-seconds: "1"      is ready this time after its start ("never": never)
//	ccisim.spillway.io/stop-seconds: "5"       takes this time to end after SIGTERM ("never": until SIGKILL)
//	ccisim.spillway.io/stop-exit-code: "143"   ends with this code after SIGTERM
//	ccisim.spillway.io/log-lines: "10"         writes this number of lines at its start
//	ccisim.spillway.io/image: "missing"        cannot be pulled
//	ccisim.spillway.io/exit-code.init: "1"     the same for the container "init" alone
//
// If Config.Exporters is on, each Pod serves metrics of its CPU and memory at its address, port 19100, as the Pods of
// the service do. The annotations ccisim.spillway.io/cpu-cores and /memory-bytes set them for simulated containers.
//
// # The simulator's own API
//
// The same listener, or that of controlListen, also serves, without credentials:
//
//	GET    /healthz, /readyz
//	GET    /_sim/requests                 counts of requests by verb, resource and code
//	DELETE /_sim/requests                 remove the counts and the dropped fields
//	GET    /_sim/pods                     every Pod that ever existed, with the times of its creation and removal
//	GET    /_sim/dropped-fields           fields of requests that the service does not list, and ignored
//	GET    /_sim/faults                   the injected faults
//	POST   /_sim/faults                   inject a fault; the body is a Fault
//	DELETE /_sim/faults[/{id}]            remove one fault, or all
//	GET    /_sim/policies                 the policies
//	PUT    /_sim/policies                 replace them; the body is Policies
//	PUT    /_sim/routes                   replace the networks that the VPC routes to this machine; a list of CIDRs
//	PUT    /_sim/credentials              replace the accepted credentials; the body is a list of them
//	POST   /_sim/watches/cut[?abrupt=1]   end all watches; abrupt closes their connections
//	POST   /_sim/history/compact          make every older resource version and continue token too old (410)
//	POST   /_sim/namespaces/{ns}/image-snapshot
//	                                      add a cci-imagesnapshot-... Pod, as the service does
//	POST   /_sim/namespaces/{ns}/pods/{pod}/containers/{container}/log
//	                                      append the lines of the body to the log of a running container
//	POST   /_sim/namespaces/{ns}/pods/{pod}/containers/{container}/finish
//	                                      end a container; the body is {"exitCode": n}
//
// For example, to make the cloud sold out, and to allow only five creations of Pods per second:
//
//	curl -d '{"kind":"soldOut"}' localhost:10243/_sim/faults
//	curl -d '{"kind":"throttle","verb":"create","path":"/pods$","ratePerSecond":5,"retryAfterSeconds":2}' \
//	    localhost:10243/_sim/faults
//	curl -X DELETE localhost:10243/_sim/faults
package ccisim
