"""What people, archives and hubs give: tables, pictures and downloads, each read in full or refused."""
