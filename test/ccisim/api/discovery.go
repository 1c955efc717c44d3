package api

import (
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// discover lists the versions, the groups, and the resources of one group, as kubectl asks for them. The groups of both
// generations have one list.
func (s *Server) discover(c *call) (*reply, *apiError) {
	if c.r.Method != http.MethodGet {
		return nil, codedError(http.StatusMethodNotAllowed, "",
			"the server does not allow this method on the requested resource")
	}
	switch path := "/" + strings.Trim(c.r.URL.Path, "/"); path {
	case objects.FirstAPI:
		return jsonReply(http.StatusOK, mustEncode(metav1.APIVersions{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIVersions"}, Versions: []string{"v1"},
		})), nil
	case "/apis":
		return jsonReply(http.StatusOK, mustEncode(apiGroups())), nil
	default:
		version := strings.TrimPrefix(strings.TrimPrefix(path, objects.FirstAPI+"/"), "/apis/")
		return jsonReply(http.StatusOK, mustEncode(s.apiResources(version))), nil
	}
}

func apiGroups() metav1.APIGroupList {
	out := metav1.APIGroupList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "APIGroupList"}}
	for _, name := range []string{
		objects.CCI2.APIVersion(objects.Pods), objects.CCI2.APIVersion(objects.Networks),
		objects.CCI1.APIVersion(objects.Networks),
	} {
		group, version, _ := strings.Cut(name, "/")
		served := metav1.GroupVersionForDiscovery{GroupVersion: name, Version: version}
		out.Groups = append(out.Groups, metav1.APIGroup{
			Name: group, Versions: []metav1.GroupVersionForDiscovery{served}, PreferredVersion: served,
		})
	}
	return out
}

// apiResources lists a group. In CCI 2.0 it lists no events, as the live service does not.
func (s *Server) apiResources(version string) metav1.APIResourceList {
	out := metav1.APIResourceList{
		TypeMeta:     metav1.TypeMeta{APIVersion: "v1", Kind: "APIResourceList"},
		GroupVersion: version,
		APIResources: []metav1.APIResource{},
	}
	hidden := []*objects.Resource{objects.Events}
	if s.cfg.Generation == objects.CCI1 {
		hidden = []*objects.Resource{objects.Volumes, objects.Claims, objects.Snapshots}
	}
	for _, res := range objects.All {
		if s.apiVersion(res) != version || slices.Contains(hidden, res) {
			continue
		}
		out.APIResources = append(out.APIResources, metav1.APIResource{
			Name: res.Plural, SingularName: strings.ToLower(res.Kind), Kind: res.Kind, Namespaced: res.Namespaced,
			Verbs: res.Verbs,
		})
		if res == objects.Pods {
			out.APIResources = append(out.APIResources,
				metav1.APIResource{Name: "pods/log", Kind: "Pod", Namespaced: true, Verbs: []string{"get"}},
				metav1.APIResource{Name: "pods/exec", Kind: "Pod", Namespaced: true, Verbs: []string{"create", "get"}})
		}
	}
	return out
}
