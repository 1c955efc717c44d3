// Package ccisim is a Huawei Cloud CCI that behaves: an HTTP API with the vendor's signatures, schema, admission, statuses, delays and
// errors, over objects that live as Pods do. It is what everything else here is tried against, so it is as strict as the real service is
// known to be, and where that is not known it has a switch (Policies).
//
// It serves namespaces, networks (yangtse), pods with their logs and exec, configmaps, secrets, persistentvolumes and their claims, events,
// and IAM's tokens for access keys. It knows one account; it has no services or deployments. attach and port-forward are missing in the real
// service too. CCI 1.0 is served beside 2.0, with the same life of Pods and objects of its own.
//
// New makes it, Handler serves it, Run lets its time pass, Close ends it. With a state file, all objects, the faults and the policies
// survive a stop and a kill; the lines of logs do not.
//
// # What containers do
//
// A container of image ccisim/process (ProcessImage) is a real process of this machine, where Config.Processes allows it: its command runs in
// a directory of its Pod that goes with it, as nobody where the simulator runs as root, and its log is what it prints. It gets the
// variables of its container, from ConfigMaps and Secrets too, no volumes, and no probes. Commands of exec run beside it.
//
// No other container is run. What one would do is said by annotations of its Pod, under BehaviourPrefix:
//
//	ccisim.spillway.io/run-seconds: "2.5"      ends by itself after this time ("forever": never)
//	ccisim.spillway.io/exit-code: "3"          and with this code
//	ccisim.spillway.io/crash-loop: "true"      ends with 1 soon after each start
//	ccisim.spillway.io/ready-seconds: "1"      is ready so long after its start ("never": never)
//	ccisim.spillway.io/stop-seconds: "5"       needs so long after SIGTERM ("never": until SIGKILL)
//	ccisim.spillway.io/stop-exit-code: "143"   and ends with this code
//	ccisim.spillway.io/log-lines: "10"         writes so many lines at its start
//	ccisim.spillway.io/image: "missing"        cannot be pulled
//	ccisim.spillway.io/exit-code.init: "1"     the same for the container "init" alone
//
// Where Config.Exporters is on, each Pod tells what it uses of CPU and memory at its own address, port 19100, as the service's Pods do.
// Annotations say it of simulated containers: ccisim.spillway.io/cpu-cores and /memory-bytes.
//
// # The simulator's own API
//
// Beside the CCI API, the same listener serves, without credentials:
//
//	GET    /healthz, /readyz
//	GET    /_sim/requests                 how often what was answered: verb, resource, code
//	DELETE /_sim/requests                 forget the counts and the dropped fields
//	GET    /_sim/pods                     every Pod that ever was, with the times of its beginning and end
//	GET    /_sim/dropped-fields           what requests held that the service does not list, and ignored
//	GET    /_sim/faults                   the faults that are on
//	POST   /_sim/faults                   switch one on; the body is a Fault
//	DELETE /_sim/faults[/{id}]            switch off one, or all
//	GET    /_sim/policies                 the answers to what is not documented
//	PUT    /_sim/policies                 replace them; the body is Policies
//	PUT    /_sim/credentials              replace those that may call; the body is a list of them
//	POST   /_sim/watches/cut[?abrupt=1]   end all watches; abrupt closes their connections
//	POST   /_sim/history/compact          make every older resourceVersion and continue token too old (410)
//	POST   /_sim/namespaces/{ns}/image-snapshot
//	                                      add a cci-imagesnapshot-... Pod, as the service does by itself
//	POST   /_sim/namespaces/{ns}/pods/{pod}/containers/{container}/log
//	                                      append the body's lines to a running container's log
//	POST   /_sim/namespaces/{ns}/pods/{pod}/containers/{container}/finish
//	                                      end a container; the body is {"exitCode": n}
//
// For example, to have the cloud sold out, and to let only five Pods a second be created:
//
//	curl -d '{"kind":"soldOut"}' localhost:10243/_sim/faults
//	curl -d '{"kind":"throttle","verb":"create","path":"/pods$","ratePerSecond":5,"retryAfterSeconds":2}' localhost:10243/_sim/faults
//	curl -X DELETE localhost:10243/_sim/faults
package ccisim
