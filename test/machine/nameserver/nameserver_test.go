package nameserver

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/dns/dnsmessage"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
)

// cluster returns a client of a cluster with two Services, one of them without a cluster IP.
func cluster() *fake.Clientset {
	service := func(name, ip string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip},
		}
	}
	return fake.NewClientset(service("web", "10.96.0.7"), service("headless", corev1.ClusterIPNone))
}

func request(t *testing.T, names ...string) []byte {
	t.Helper()
	message := dnsmessage.Message{Header: dnsmessage.Header{ID: 42}}
	for _, name := range names {
		message.Questions = append(message.Questions, dnsmessage.Question{
			Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
		})
	}
	packed, err := message.Pack()
	require.NoError(t, err)
	return packed
}

func TestAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		question string
		code     dnsmessage.RCode
		want     []byte
	}{
		"a Service":                      {"web.shop.svc.cluster.local.", dnsmessage.RCodeSuccess, []byte{10, 96, 0, 7}},
		"a Service without a cluster IP": {"headless.shop.svc.cluster.local.", dnsmessage.RCodeSuccess, nil},
		"an unknown Service":             {"db.shop.svc.cluster.local.", dnsmessage.RCodeNameError, nil},
		"an unknown namespace":           {"web.other.svc.cluster.local.", dnsmessage.RCodeNameError, nil},
		"a name that is too short":       {"web.svc.cluster.local.", dnsmessage.RCodeNameError, nil},
		"a name outside the cluster":     {"example.com.", dnsmessage.RCodeNameError, nil},
	} {
		t.Run(name, func(t *testing.T) {
			packed, err := answer(cluster(), request(t, test.question))
			require.NoError(t, err)
			var got dnsmessage.Message
			require.NoError(t, got.Unpack(packed))
			assert.EqualValues(t, 42, got.ID)
			assert.True(t, got.Response)
			assert.Equal(t, test.code, got.RCode)
			if test.want == nil {
				assert.Empty(t, got.Answers)
				return
			}
			require.Len(t, got.Answers, 1)
			address := got.Answers[0].Body.(*dnsmessage.AResource).A
			assert.Equal(t, test.want, address[:])
		})
	}
}

func TestAnAPIServerThatFailsIsNoUnknownName(t *testing.T) {
	client := cluster()
	client.PrependReactor("get", "services", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("down")
	})
	packed, err := answer(client, request(t, "web.shop.svc.cluster.local."))
	require.NoError(t, err)
	var got dnsmessage.Message
	require.NoError(t, got.Unpack(packed))
	assert.Equal(t, dnsmessage.RCodeServerFailure, got.RCode)
}

func TestMalformedRequestsGetNoAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		request []byte
		want    string
	}{
		"no message":  {[]byte("junk"), "unpacking header"},
		"no question": {request(t), "the request must have one question"},
		"two questions": {
			request(t, "web.shop.svc.cluster.local.", "db.shop.svc.cluster.local."), "the request must have one question",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := answer(cluster(), test.request)
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestAResolverUsesTheServer(t *testing.T) {
	listener, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	go serve(cluster(), listener)
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", listener.LocalAddr().String())
	}}
	addresses, err := resolver.LookupHost(t.Context(), "web.shop.svc.cluster.local.")
	require.NoError(t, err)
	assert.Equal(t, []string{"10.96.0.7"}, addresses)
	_, err = resolver.LookupHost(t.Context(), "db.shop.svc.cluster.local.")
	assert.ErrorContains(t, err, "no such host")
}
