// Package certificate makes the certificate with which the webhook serves, renews it in time and tells the API server by which
// authority it is known. All of it lives in one Secret that every process of the program reads: any of them may write it, and none
// needs to be restarted. A certificate that is given in files is no business of this package.
package certificate
