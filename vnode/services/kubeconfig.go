package services

import (
	"errors"
	"fmt"

	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ServerName is the name in the certificate of every server. Clients verify it instead of the address, because a load
// balancer or a node port may be in between.
const ServerName = "spillway-services"

// AllNamespaces stands for every namespace in the list of the namespaces that all Pods see.
const AllNamespaces = "*"

// Kubeconfig returns the kubeconfig of a Pod: a cluster, a user and a context for each address of a server (host:port),
// which name them. The first address is that of the current context. ca is in PEM.
func Kubeconfig(addresses []string, ca []byte, token string) ([]byte, error) {
	if len(addresses) == 0 {
		return nil, errors.New("writing a kubeconfig for Services: the server has no address yet")
	}
	config := clientcmdapi.NewConfig()
	config.CurrentContext = addresses[0]
	for _, address := range addresses {
		config.Clusters[address] = &clientcmdapi.Cluster{
			Server: "https://" + address, TLSServerName: ServerName, CertificateAuthorityData: ca,
		}
		config.AuthInfos[address] = &clientcmdapi.AuthInfo{Token: token}
		config.Contexts[address] = &clientcmdapi.Context{Cluster: address, AuthInfo: address}
	}
	content, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("writing a kubeconfig for Services: %w", err)
	}
	return content, nil
}
