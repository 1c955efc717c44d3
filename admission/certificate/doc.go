// Package certificate creates the serving certificate of the webhook, renews it in time, and sets the CA bundles of
// the webhook configurations. Certificate, key and authority are in one Secret that every process of the program
// reads. Every process may write the Secret, and none has to restart. The package does not handle certificates that
// are given as files.
package certificate
