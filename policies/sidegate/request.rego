# Looks at single requests, after tenant, route and scopes have let them pass. It can only refuse.
# Remove this file if nothing in it is wanted: what is not there costs nothing.
package sidegate.request

import rego.v1

# Nothing is deleted while changes are frozen.
deny contains {"code": "frozen", "message": "no deletions while changes are frozen"} if {
	input.request.method == "DELETE"
	input.local.environment in data.freeze.environments
	input.time.weekday in data.freeze.weekdays
}
