package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/spillway-k8s/spillway/internal/diagnosis"
)

// maxSkew is the difference of clocks at which the service refuses signatures, warnSkew the one that is reported.
// Source: API signing guide, "Signing Requests": the time must be within 15 minutes.
const maxSkew, warnSkew = 15 * time.Minute, time.Minute

func reachChecks() []check {
	return []check{
		{name: "dns", run: resolve},
		{name: "connection", needs: []string{"dns"}, run: connect},
		{name: "clock", needs: []string{"connection"}, run: compareClocks},
		{name: "connection-iam", run: connectIAM},
	}
}

// resolve looks the service up, unless a proxy does.
func resolve(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	endpoint := d.config.CCI.ServiceEndpoint()
	u, err := url.Parse(endpoint)
	if err != nil {
		return "", nil, err
	}
	if proxy := proxyOf(endpoint); proxy != nil {
		return "left to the proxy " + proxy.Host, nil, nil
	}
	if net.ParseIP(u.Hostname()) != nil {
		return "the endpoint is an address", nil, nil
	}
	addresses, err := d.resolver.LookupHost(ctx, u.Hostname())
	if err != nil {
		return "", []diagnosis.Finding{found(CodeNameNotResolved, "%s: %v", u.Hostname(), err)}, nil
	}
	return fmt.Sprintf("%s has %d addresses", u.Hostname(), len(addresses)), nil, nil
}

// connect sends a request without a signature. Any answer proves the connection and the certificate.
func connect(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	return d.connect(ctx, d.config.CCI.ServiceEndpoint(), CodeNoConnection)
}

func connectIAM(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	return d.connect(ctx, d.config.CCI.TokenEndpoint(), CodeNoConnectionToIAM)
}

func (d *Doctor) connect(
	ctx context.Context, endpoint string, failure diagnosis.Code,
) (string, []diagnosis.Finding, error) {
	response, err := d.get(ctx, endpoint)
	if err == nil {
		return fmt.Sprintf("answers %d, %s", response.StatusCode, tlsOf(response.TLS)), nil, nil
	}
	if failed, ok := errors.AsType[*url.Error](err); ok {
		err = failed.Err // The message names the URL already.
	}
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("no answer within %s (cci.requestTimeout)", d.config.CCI.RequestTimeout.Duration)
	}
	if proxy := proxyOf(endpoint); proxy != nil {
		err = fmt.Errorf("through the proxy %s: %w", proxy.Host, err)
		if failure == CodeNoConnection && !isCertificate(err) {
			failure = CodeProxy
		}
	}
	if failure == CodeNoConnection && isCertificate(err) {
		failure = CodeCertificate
	}
	return "", []diagnosis.Finding{found(failure, "%s: %v", endpoint, err)}, nil
}

func isCertificate(err error) bool {
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	return ok
}

func tlsOf(state *tls.ConnectionState) string {
	if state == nil {
		return "without TLS"
	}
	return tls.VersionName(state.Version)
}

// get requests the root of a service without a signature. The body is read and closed.
func (d *Doctor) get(ctx context.Context, endpoint string) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, d.config.CCI.RequestTimeout.Duration)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, err
	}
	response, err := d.plain.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<20)) // Only the header matters.
	return response, nil
}

// compareClocks compares the clock of this machine with the date of an answer.
func compareClocks(ctx context.Context, d *Doctor) (string, []diagnosis.Finding, error) {
	before := time.Now()
	response, err := d.get(ctx, d.config.CCI.ServiceEndpoint())
	if err != nil {
		return "", nil, err
	}
	middle := before.Add(time.Since(before) / 2)
	date, err := http.ParseTime(response.Header.Get("Date"))
	if err != nil {
		return "", []diagnosis.Finding{found(CodeClockUnknown, "an answer has no valid header Date")}, nil
	}
	d.offset = date.Add(time.Second / 2).Sub(middle) // The header has whole seconds.
	text := "this machine is " + d.offset.Round(time.Minute).String() + " behind the service"
	if d.offset < 0 {
		text = "this machine is " + (-d.offset).Round(time.Minute).String() + " ahead of the service"
	}
	switch skew := d.offset.Abs(); {
	case skew > maxSkew:
		d.clockOff = true
		return text, []diagnosis.Finding{found(CodeClockOff, "%s", text)}, nil
	case skew > warnSkew:
		return text, []diagnosis.Finding{found(CodeClockDrifts, "%s", text)}, nil
	}
	return "within a minute of the service's", nil, nil
}
