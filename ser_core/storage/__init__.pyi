from . import s3_client as s3_client
from . import s3_requests as s3_requests
from .download import Checksum as Checksum
from .download import Download as Download
from .local import version_of as version_of
from .location import Location as Location
from .location import delete as delete
from .location import exists as exists
from .location import faults_of as faults_of
from .location import list_files as list_files
from .location import put as put
from .location import put_new as put_new
from .location import read as read
from .location import service_fault as service_fault
from .lock import Lock as Lock
from .model_folder import one_line_faults as one_line_faults
from .model_folder import write as write
from .unpack import unpack as unpack

__all__ = [
    "Checksum",
    "Download",
    "Location",
    "Lock",
    "delete",
    "exists",
    "faults_of",
    "list_files",
    "one_line_faults",
    "put",
    "put_new",
    "read",
    "s3_client",
    "s3_requests",
    "service_fault",
    "unpack",
    "version_of",
    "write",
]
