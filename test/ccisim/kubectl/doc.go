// Package kubectl runs kubectl against the simulated cloud, with a token. Kubectl is a client of the real service too:
// the vendor documents it for CCI 1.0. It has tests only.
package kubectl
