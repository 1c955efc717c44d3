package cci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// Handshake is how a command's stream is opened in the caller's name.
type Handshake string

const (
	// HandshakeToken sends an IAM token: what is known to work.
	HandshakeToken Handshake = "token"
	// HandshakeSignature signs with the access key, as all other requests are. Whether the service takes it is not documented.
	HandshakeSignature Handshake = "signature"
)

// execProtocol is the only WebSocket sub-protocol that the service takes: each frame begins with the number of its channel.
const execProtocol = "v4.channel.k8s.io"

// defaultKeepAlive is far below the five minutes after which the service cuts a stream on which nothing is said.
const defaultKeepAlive = time.Minute

// ExecConfig is how commands are run in containers. The zero value needs a token among the credentials.
type ExecConfig struct {
	// Handshake is HandshakeToken, the default, or HandshakeSignature.
	Handshake Handshake
	// IAMEndpoint is scheme and host of the service that gives tokens for access keys, such as
	// https://iam.cn-north-4.myhuaweicloud.com.
	IAMEndpoint string
	// KeepAlive is how often a stream is kept from looking idle; 0 for once a minute.
	KeepAlive time.Duration
}

func (c ExecConfig) validate(credentials Credentials) error {
	switch {
	case c.Handshake != "" && c.Handshake != HandshakeToken && c.Handshake != HandshakeSignature:
		return fmt.Errorf("exec handshake: invalid value %q: must be %s or %s", c.Handshake, HandshakeToken, HandshakeSignature)
	case c.KeepAlive < 0:
		return fmt.Errorf("exec keep-alive: invalid value %s: must be above zero", c.KeepAlive)
	case c.Handshake == HandshakeSignature || (c.IAMEndpoint == "" && credentials.AuthToken != ""):
		return nil
	case !isHost(c.IAMEndpoint):
		return fmt.Errorf("IAM endpoint: invalid value %q: must be a scheme and a host, such as https://iam.cn-north-4.myhuaweicloud.com", c.IAMEndpoint)
	}
	return nil
}

// PodExec implements API.
func (c *Client) PodExec(ctx context.Context, namespace, name string, options ExecOptions, streams ExecStreams) error {
	if err := c.pace.wait(ctx); err != nil {
		return err
	}
	conn, err := c.openExec(ctx, call{
		operation: "PodExec", method: http.MethodGet, path: c.paths.pods(namespace, name, "exec"), query: execQuery(options, streams),
	})
	if err != nil {
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

// openExec shakes hands. A token that the service does not take any more is replaced once.
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
	if fault, ok := errors.AsType[*Error](err); !ok || fault.Status != http.StatusUnauthorized || c.config.Credentials.Current().AuthToken != "" {
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

// dial opens the WebSocket of a call.
func (c *Client) dial(ctx context.Context, call call, header http.Header) (*websocket.Conn, error) {
	dialer := websocket.Dialer{
		Proxy: http.ProxyFromEnvironment, HandshakeTimeout: c.config.RequestTimeout, Subprotocols: []string{execProtocol},
		// What does not fit is sent in fragments, and servers of this protocol take each for a frame of its own.
		WriteBufferSize: largestInput + 1<<10,
	}
	if transport, ok := c.config.Transport.(*http.Transport); ok {
		dialer.Proxy, dialer.NetDialContext, dialer.TLSClientConfig = transport.Proxy, transport.DialContext, transport.TLSClientConfig
	}
	// http and https become ws and wss.
	address := "ws" + strings.TrimSuffix(strings.TrimPrefix(c.config.Endpoint, "http"), "/") + call.path + "?" + call.query.Encode()
	start := time.Now()
	conn, response, err := dialer.DialContext(ctx, address, header)
	if response == nil {
		c.config.Observe(call.operation, "none", time.Since(start))
		return nil, noAnswer(ctx, "asking the cloud", err)
	}
	c.config.Observe(call.operation, strconv.Itoa(response.StatusCode), time.Since(start))
	switch {
	case err == nil && conn.Subprotocol() == execProtocol:
		return conn, nil
	case err == nil:
		return nil, errors.Join(&Error{Kind: Permanent, Message: "the cloud does not speak " + execProtocol}, conn.Close())
	case !errors.Is(err, websocket.ErrBadHandshake):
		return nil, noAnswer(ctx, "asking the cloud", err)
	}
	defer response.Body.Close()
	// What can be read of the reason is enough.
	body, _ := io.ReadAll(io.LimitReader(response.Body, largestAnswer))
	return nil, decodeFault(response.StatusCode, response.Header, body, time.Now())
}
