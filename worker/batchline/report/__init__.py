"""The savings report: the ledgers of days summed up by model, account, tenant or day, and written in four forms. Pure."""

from batchline.report.sums import GROUPS, Group, Report, Sums, build

__all__ = ["GROUPS", "Group", "Report", "Sums", "build"]
