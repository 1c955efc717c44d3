package cci

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Handshake is how the client authenticates when it opens the stream of a command.
type Handshake string

const (
	// HandshakeToken sends an IAM token. It works in practice; the CCI API does not document the handshake.
	HandshakeToken Handshake = "token"
	// HandshakeSignature signs with the access key, as all other requests do. The CCI API does not document whether the
	// service accepts it.
	HandshakeSignature Handshake = "signature"
)

// execProtocol is the only WebSocket subprotocol that the service accepts. Each frame begins with the number of its
// channel. Source: Kubernetes v1.36, staging/src/k8s.io/apimachinery/pkg/util/remotecommand/constants.go.
const execProtocol = "v4.channel.k8s.io"

// defaultKeepAlive is far below the five minutes after which the service closes an idle stream.
const defaultKeepAlive = time.Minute

// ExecConfig configures how commands run in containers. The zero value requires a token in the credentials.
type ExecConfig struct {
	// Handshake is HandshakeToken, the default, or HandshakeSignature.
	Handshake Handshake
	// IAMEndpoint is the scheme and the host of the service that issues tokens for access keys, such as
	// https://iam.cn-north-4.myhuaweicloud.com.
	IAMEndpoint string
	// KeepAlive is the interval of the frames that keep a stream from being idle. 0 means one minute.
	KeepAlive time.Duration
}

// validate returns all errors. path is that of the client's configuration. The IAM endpoint must be valid unless it is
// not used.
func (c ExecConfig) validate(path *field.Path, credentials Credentials, allowHTTP bool) field.ErrorList {
	var errs field.ErrorList
	if c.Handshake != "" && c.Handshake != HandshakeToken && c.Handshake != HandshakeSignature {
		errs = append(errs, field.NotSupported(path.Child("exec", "handshake"), c.Handshake,
			[]Handshake{HandshakeToken, HandshakeSignature}))
	}
	if c.KeepAlive < 0 {
		errs = append(errs, field.Invalid(path.Child("exec", "keepAlive"), c.KeepAlive.String(),
			"must not be negative"))
	}
	unused := c.Handshake == HandshakeSignature || (c.IAMEndpoint == "" && credentials.AuthToken != "")
	if !unused {
		errs = append(errs, ValidateEndpoint(path.Child("iamEndpoint"), c.IAMEndpoint, allowHTTP)...)
	}
	return errs
}

// PodExec implements API.
func (c *Client) PodExec(
	ctx context.Context, namespace, name string, options ExecOptions, streams ExecStreams,
) error {
	if err := c.limiter.Wait(ctx); err != nil {
		return err
	}
	call := call{
		operation: "PodExec", method: http.MethodGet, path: c.paths.pods(namespace, name, "exec"),
		query: execQuery(options, streams), feature: Exec, namespace: namespace, list: c.paths.pods(namespace),
	}
	conn, err := c.openExec(ctx, call)
	if err := c.explained(ctx, call, err); err != nil {
		return fmt.Errorf("running a command in container %s of cloud pod %s: %w", options.Container, name, err)
	}
	return (&execSession{conn: conn, streams: streams, keepAlive: c.config.Exec.KeepAlive}).run(ctx)
}

func execQuery(options ExecOptions, streams ExecStreams) url.Values {
	query := url.Values{"container": {options.Container}, "command": options.Command}
	setTrue(query, "stdin", streams.Stdin != nil)
	setTrue(query, "stdout", streams.Stdout != nil)
	setTrue(query, "stderr", streams.Stderr != nil)
	setTrue(query, "tty", options.TTY)
	return query
}

// openExec opens the stream of a command. It replaces a token that the service no longer accepts once.
func (c *Client) openExec(ctx context.Context, call call) (*websocket.Conn, error) {
	if c.config.Exec.Handshake == HandshakeSignature {
		signed, err := c.sign(ctx, call)
		if err != nil {
			return nil, err
		}
		return c.dial(ctx, call, signed.Header)
	}
	token, err := c.authToken(ctx, "")
	if err != nil {
		return nil, err
	}
	conn, err := c.dial(ctx, call, tokenHeader(token))
	if statusOf(err) != http.StatusUnauthorized || c.config.Credentials.Current().AuthToken != "" {
		return conn, err
	}
	if token, err = c.authToken(ctx, token); err != nil {
		return nil, err
	}
	return c.dial(ctx, call, tokenHeader(token))
}

func tokenHeader(token string) http.Header {
	return http.Header{"X-Auth-Token": {token}, "User-Agent": {userAgent}}
}

// firstHTTP returns a TLS configuration that offers HTTP/1.1 only, which WebSockets need. A transport adds HTTP/2 to
// its own configuration when it is first used, and a server that has HTTP/2 would choose it.
func firstHTTP(config *tls.Config) *tls.Config {
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.NextProtos = []string{"http/1.1"}
	return config
}

// dial opens the WebSocket connection of a call.
func (c *Client) dial(ctx context.Context, call call, header http.Header) (*websocket.Conn, error) {
	if c.config.Guard != nil {
		if err := c.config.Guard.Err(); err != nil {
			return nil, noAnswer(ctx, "sending a request to the cloud", err)
		}
	}
	dialer := websocket.Dialer{
		Proxy: http.ProxyFromEnvironment, HandshakeTimeout: c.config.RequestTimeout,
		Subprotocols: []string{execProtocol},
		// A message that exceeds the buffer is sent in fragments, which servers of this protocol treat as separate
		// frames.
		WriteBufferSize: maxInputSize + 1<<10,
	}
	if transport, ok := c.config.Transport.(*http.Transport); ok {
		dialer.Proxy, dialer.NetDialContext = transport.Proxy, transport.DialContext
		dialer.TLSClientConfig = firstHTTP(transport.TLSClientConfig)
	}
	handshake := limitHandshake(&dialer)
	// http and https become ws and wss.
	host := strings.TrimSuffix(strings.TrimPrefix(c.config.Endpoint, "http"), "/")
	address := "ws" + host + call.path + "?" + call.query.Encode()
	start := time.Now()
	conn, response, err := dialer.DialContext(ctx, address, header)
	handshake.done()
	if response == nil {
		c.metrics.observe(call.operation, noResponse, time.Since(start))
		return nil, noAnswer(ctx, "sending a request to the cloud", err)
	}
	c.metrics.observe(call.operation, strconv.Itoa(response.StatusCode), time.Since(start))
	switch {
	case err == nil && conn.Subprotocol() == execProtocol:
		return conn, nil
	case err == nil:
		unsupported := &Error{Kind: Permanent, Message: "the cloud does not support the subprotocol " + execProtocol}
		return nil, errors.Join(unsupported, conn.Close())
	case !errors.Is(err, websocket.ErrBadHandshake):
		return nil, noAnswer(ctx, "sending a request to the cloud", err)
	}
	defer response.Body.Close()
	// A partial body is sufficient for an error.
	body, _ := io.ReadAll(io.LimitReader(response.Body, maxError))
	return nil, c.decodeAnswer(call, response, body)
}
