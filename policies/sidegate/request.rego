# Looks at single requests, after tenant, route and scopes have let them pass. It can only refuse.
# Remove this file if nothing in it is wanted: what is not there costs nothing.
package sidegate.request

import rego.v1

import data.lib.freeze

# Nothing is deleted while changes are frozen (freeze/data.json).
deny contains reason if some reason in freeze.reasons
