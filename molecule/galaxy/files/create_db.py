"""Create Galaxy's tables, or bring them to the version of the installed packages."""

import sys

from galaxy.model.migrations import verify_databases_via_script
from galaxy.model.migrations.scripts import get_configuration

# The scripts of Galaxy's migrations read their options, and the path of the configuration, from sys.argv.
CONFIGURATION = get_configuration(sys.argv, ".")
verify_databases_via_script(*CONFIGURATION)
