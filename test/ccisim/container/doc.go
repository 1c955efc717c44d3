// Package container runs the processes of simulated Pods as a container runtime does: in a file system of their own
// with the volumes of their Pod, in the network of their Pod, as a user and with exactly the capabilities that they
// have. It needs Linux and root.
//
// The file system is in memory. It has the programs of this machine, read-only, the program that is the image, the
// usual devices, and nothing else of the machine. The first process of a container is the first of a PID namespace.
// When it ends, the kernel ends all others and removes all mounts. When the process that has started it ends, in any
// way, it is killed. So nothing outlives the simulator.
//
// A process prepares itself: Prepare and Join make a command that runs the present program again, whose main function
// calls Init, which prepares the process and replaces it by that of the container.
package container
