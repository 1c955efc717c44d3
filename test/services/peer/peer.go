// Package peer is the program in the Pods of tests of Services: a server of HTTP, TCP and UDP, and clients that print
// what they found as JSON. It resolves names as Go programs do, with /etc/resolv.conf.
package peer

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"
)

// Usage describes the arguments of Run.
const Usage = `peer serve [--http :80] [--tcp :7] [--udp :7] [--drain 0s]
peer get URL                      prints the Answer
peer load URL --for 10s           requests over new connections, prints the Load
peer measure HOST:PORT --for 2s   requests over new connections, then a stream, prints the Speed
peer udp HOST:PORT                prints the Answer
peer hold HOST:PORT --for 10m     uses a TCP connection, leaves it idle, uses it again
peer half HOST:PORT               closes one side of a TCP connection, and reads the other
peer lookup [--type A] NAME       prints the addresses, or SRV, CNAME or PTR records
peer api PATH                     prints the answer of the API server to the ServiceAccount of the Pod`

// timeout is how long one request may take.
const timeout = 5 * time.Second

// Run runs the program until it is done or ctx ends.
func Run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("no command:\n%s", Usage)
	}
	flags := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	var s server
	flags.StringVar(&s.http, "http", "", "address for HTTP")
	flags.StringVar(&s.tcp, "tcp", "", "address for TCP")
	flags.StringVar(&s.udp, "udp", "", "address for UDP")
	flags.DurationVar(&s.drain, "drain", 0, "time of service after SIGTERM")
	duration := flags.Duration("for", 0, "how long")
	kind := flags.String("type", "A", "type of the records")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if args[0] == "serve" {
		return s.run(ctx, out)
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("%s needs one argument:\n%s", args[0], Usage)
	}
	target := flags.Arg(0)
	var found any
	var err error
	switch args[0] {
	case "get":
		found, err = get(ctx, target)
	case "load":
		found = load(ctx, target, *duration)
	case "measure":
		found, err = measure(ctx, target, *duration)
	case "udp":
		found, err = askByUDP(ctx, target)
	case "hold":
		found, err = hold(ctx, target, *duration)
	case "half":
		found, err = halfClose(ctx, target)
	case "lookup":
		found, err = lookup(ctx, *kind, target)
	case "api":
		found, err = askAPI(ctx, target)
	default:
		return fmt.Errorf("unknown command %q:\n%s", args[0], Usage)
	}
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(found)
}
