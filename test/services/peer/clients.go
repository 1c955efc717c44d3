package peer

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Load is what many requests found.
type Load struct {
	Requests int `json:"requests"`
	// Errors are the first that occurred, Failed how many.
	Failed int      `json:"failed"`
	Errors []string `json:"errors,omitempty"`
	// Hosts are how many requests each server has answered.
	Hosts map[string]int `json:"hosts"`
}

// get sends a request over a new connection.
func get(ctx context.Context, url string) (Answer, error) {
	var answer Answer
	err := ask(ctx, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, url, "", &answer)
	return answer, err
}

// ask decodes the answer to a request.
func ask(ctx context.Context, client *http.Client, url, token string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("preparing a request: %w", err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", url, response.Status, body)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("decoding the answer of %s: %w", url, err)
	}
	return nil
}

// load sends one request after the other for a time, each over a new connection.
func load(ctx context.Context, url string, duration time.Duration) Load {
	ctx, cancel := context.WithTimeout(ctx, duration)
	defer cancel()
	found := Load{Hosts: map[string]int{}}
	for ctx.Err() == nil {
		// The last request is not aborted.
		answer, err := get(context.WithoutCancel(ctx), url)
		found.Requests++
		if err == nil {
			found.Hosts[answer.Host]++
			continue
		}
		found.Failed++
		if len(found.Errors) < 5 {
			found.Errors = append(found.Errors, err.Error())
		}
	}
	return found
}

// askByUDP sends a packet up to three times.
func askByUDP(ctx context.Context, address string) (Answer, error) {
	var answer Answer
	connection, err := new(net.Dialer).DialContext(ctx, "udp", address)
	if err != nil {
		return answer, err
	}
	defer connection.Close()
	var failures []error
	for range 3 {
		if _, err := connection.Write([]byte("hello")); err != nil {
			failures = append(failures, err)
			continue
		}
		if err := connection.SetReadDeadline(time.Now().Add(timeout / 3)); err != nil {
			return answer, err
		}
		buffer := make([]byte, 1500)
		n, err := connection.Read(buffer)
		if err == nil {
			return answer, json.Unmarshal(buffer[:n], &answer)
		}
		failures = append(failures, err)
	}
	return answer, errors.Join(failures...)
}

// hold uses a connection before and after a time without a byte, and returns the address of this end.
func hold(ctx context.Context, address string, idle time.Duration) (local string, err error) {
	connection, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	reader := bufio.NewReader(connection)
	for _, word := range []string{"before\n", "after\n"} {
		if err := connection.SetDeadline(time.Now().Add(timeout)); err != nil {
			return "", err
		}
		if _, err := io.WriteString(connection, word); err != nil {
			return "", fmt.Errorf("sending %q: %w", word, err)
		}
		if line, err := reader.ReadString('\n'); err != nil || line != word {
			return "", fmt.Errorf("received %q for %q: %w", line, word, err)
		}
		if word == "before\n" {
			select {
			case <-time.After(idle):
			case <-ctx.Done():
				return "", ctx.Err()
			}
		}
	}
	return connection.LocalAddr().String(), nil
}

// halfClose sends a text, closes its side, and returns what it receives until the other side is closed.
func halfClose(ctx context.Context, address string) (received string, err error) {
	connection, err := (&net.Dialer{Timeout: timeout}).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(timeout)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(connection, "all of it"); err != nil {
		return "", err
	}
	if err := connection.(*net.TCPConn).CloseWrite(); err != nil {
		return "", err
	}
	all, err := io.ReadAll(connection)
	return string(all), err
}

// lookup returns the records of a name, sorted.
func lookup(ctx context.Context, kind, name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var found []string
	var err error
	switch kind {
	case "A":
		found, err = net.DefaultResolver.LookupHost(ctx, name)
	case "SRV":
		var records []*net.SRV
		_, records, err = net.DefaultResolver.LookupSRV(ctx, "", "", name)
		for _, record := range records {
			found = append(found, fmt.Sprintf("%s:%d", record.Target, record.Port))
		}
	case "CNAME":
		var record string
		record, err = net.DefaultResolver.LookupCNAME(ctx, name)
		found = []string{record}
	case "PTR":
		found, err = net.DefaultResolver.LookupAddr(ctx, name)
	default:
		return nil, fmt.Errorf("type %q: must be A, SRV, CNAME or PTR", kind)
	}
	slices.Sort(found)
	return found, err
}

// credentials is the directory of the token of the Pod's ServiceAccount.
const credentials = "/var/run/secrets/kubernetes.io/serviceaccount"

// askAPI reads a path of the API server as client-go does within a cluster: at the address that the environment has.
func askAPI(ctx context.Context, path string) (any, error) {
	token, err := os.ReadFile(filepath.Join(credentials, "token"))
	if err != nil {
		return nil, fmt.Errorf("reading the token: %w", err)
	}
	authority, err := os.ReadFile(filepath.Join(credentials, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("reading the authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authority) {
		return nil, errors.New("the authority has no certificate")
	}
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set")
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	var answer any
	err = ask(ctx, client, "https://"+net.JoinHostPort(host, port)+path, strings.TrimSpace(string(token)), &answer)
	return answer, err
}
