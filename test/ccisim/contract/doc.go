// Package contract holds the simulated cloud and vnode to what others know of the real one. It has tests only.
//
// The client and the simulator come from the same hands, so an error of one may be in the other too. Nothing here comes
// from either. In testdata:
//
//	terraform.json  the requests of the vendor's Terraform provider (its CCI resources, on its own client golangsdk) in
//	                the life of a namespace, recorded in November 2026 by running it against the simulator, which sent
//	                the status. The provider's update of a Pod is left out: its path has an empty element.
//	published       the examples of the API reference: the request, the answer, and the page. The IDs are made up. Those
//	                in 1.0 are of CCI 1.0.
//	fields          the fields that the public API definitions list for requests, one path a line
package contract
