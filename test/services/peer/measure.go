package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"time"
)

// Speed is what the way to a server costs.
type Speed struct {
	// Requests is how many requests were sent, one after the other, each over a new connection.
	Requests int `json:"requests"`
	// Median and P99 are how long a connection with one request took.
	Median time.Duration `json:"median"`
	P99    time.Duration `json:"p99"`
	// BytesPerSecond is how fast the server sends over one connection.
	BytesPerSecond float64 `json:"bytesPerSecond"`
}

// measure sends requests for half of a time, and receives a stream for the other half. It resolves the name once.
func measure(ctx context.Context, address string, duration time.Duration) (found Speed, err error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return found, fmt.Errorf("parsing the address of the server: %w", err)
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return found, err
	}
	url := "http://" + net.JoinHostPort(addresses[0], port)
	var times []time.Duration
	for begin := time.Now(); time.Since(begin) < duration/2 || len(times) == 0; {
		sent := time.Now()
		if _, err := get(ctx, url); err != nil {
			return found, err
		}
		times = append(times, time.Since(sent))
	}
	slices.Sort(times)
	found.Requests, found.Median, found.P99 = len(times), times[len(times)/2], times[len(times)*99/100]
	found.BytesPerSecond, err = download(ctx, url+"/stream", duration/2)
	return found, err
}

// download receives a stream for a time, and returns how many bytes came in a second.
func download(ctx context.Context, url string, duration time.Duration) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, fmt.Errorf("preparing a request: %w", err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s: %s", url, response.Status)
	}
	buffer := make([]byte, streamChunk)
	begin, received := time.Now(), 0
	for time.Since(begin) < duration {
		n, err := response.Body.Read(buffer)
		received += n
		if errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("%s ended after %d bytes", url, received)
		}
		if err != nil {
			return 0, fmt.Errorf("receiving %s: %w", url, err)
		}
	}
	return float64(received) / time.Since(begin).Seconds(), nil
}

// streamChunk is how much of a stream is sent or received at once.
const streamChunk = 64 << 10

// stream sends zeros until the client is gone.
func stream(w http.ResponseWriter, _ *http.Request) {
	for chunk := make([]byte, streamChunk); ; {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
}
