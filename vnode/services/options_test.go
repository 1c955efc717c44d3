package services

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"
)

func FuzzParse(f *testing.F) {
	for _, query := range []string{
		"watch=true&resourceVersion=5&timeoutSeconds=300", "labelSelector=a in (b,c),!d&fieldSelector=spec.clusterIP!=None",
		"sendInitialEvents=true&watch=1&resourceVersionMatch=NotOlderThan", "limit=500&resourceVersion=0",
	} {
		f.Add(query)
	}
	scope := newScope([]string{"shared"}, types.NamespacedName{})
	f.Fuzz(func(t *testing.T, text string) {
		values, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, problem := parse(values, kindService)
		if problem != nil {
			assert.Equal(t, int32(400), problem.Status().Code)
			return
		}
		assert.Positive(t, q.timeout())
		v := scope.newView("shop", &q.ListOptions)
		assert.Equal(t, v.key(), scope.newView("shop", &q.ListOptions).key())
		assert.False(t, v.shows(&object{namespace: "other"}))
	})
}
