from .download import Download as Download
from .download import unpack as unpack
from .faults import service_fault as service_fault
from .local import version_of as version_of
from .location import Location as Location
from .location import again_while_cut_off as again_while_cut_off
from .location import check_writable as check_writable
from .location import delete as delete
from .location import exists as exists
from .location import faults_of as faults_of
from .location import list_files as list_files
from .location import one_line_faults as one_line_faults
from .location import put as put
from .location import put_new as put_new
from .location import read as read
from .location import write as write
from .lock import Lock as Lock
from .s3 import list_pages as list_pages
from .s3 import start_request as start_request
from .versions import get_version as get_version
from .versions import look_at_object as look_at_object

__all__ = [
    "Download",
    "Location",
    "Lock",
    "again_while_cut_off",
    "check_writable",
    "delete",
    "exists",
    "faults_of",
    "get_version",
    "list_files",
    "list_pages",
    "look_at_object",
    "one_line_faults",
    "put",
    "put_new",
    "read",
    "service_fault",
    "start_request",
    "unpack",
    "version_of",
    "write",
]
