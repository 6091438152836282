-- What staff are told about Pancake's leads. No personal data in a subject: it shows on locked screens.
-- A soft "down" leaves the rows disabled, so they may be there.
insert into notification_template (code, subject, body) values
    ('noti_pancake_new_lead',
     '{"vi": "Khách hàng tiềm năng mới từ Pancake",
       "en": "New lead from Pancake",
       "zh": "来自 Pancake 的新线索",
       "th": "ลูกค้าเป้าหมายใหม่จาก Pancake"}',
     '{"vi": "Bạn được giao khách hàng {customer_name}, nguồn {source_name}.",
       "en": "You have been assigned {customer_name}, source {source_name}.",
       "zh": "已将客户 {customer_name} 分配给您，来源：{source_name}。",
       "th": "คุณได้รับมอบหมายลูกค้า {customer_name} จากแหล่งที่มา {source_name}"}'),
    ('noti_pancake_unassigned',
     '{"vi": "Có khách hàng từ Pancake chưa được phân công",
       "en": "A lead from Pancake has no assignee",
       "zh": "有一条来自 Pancake 的线索尚未分配",
       "th": "มีลูกค้าเป้าหมายจาก Pancake ที่ยังไม่มีผู้รับผิดชอบ"}',
     '{"vi": "Không có nhân viên nào nhận được khách hàng {customer_name}, nguồn {source_name}. Hãy phân công thủ công.",
       "en": "Nobody could take {customer_name}, source {source_name}. Please assign the ticket by hand.",
       "zh": "没有可接收客户 {customer_name}（来源：{source_name}）的人员，请手动分配。",
       "th": "ไม่มีพนักงานที่รับลูกค้า {customer_name} จากแหล่งที่มา {source_name} ได้ โปรดมอบหมายด้วยตนเอง"}'),
    ('noti_pancake_failed',
     '{"vi": "Không xử lý được một bản ghi Pancake",
       "en": "A Pancake record could not be processed",
       "zh": "一条 Pancake 记录处理失败",
       "th": "ประมวลผลระเบียน Pancake ไม่สำเร็จ"}',
     '{"vi": "Sự kiện {event_id} đã thất bại sau {attempts} lần thử. Hãy kiểm tra và chạy lại.",
       "en": "Event {event_id} failed after {attempts} attempts. Please look into it and replay it.",
       "zh": "事件 {event_id} 在尝试 {attempts} 次后失败，请检查并重放。",
       "th": "เหตุการณ์ {event_id} ล้มเหลวหลังจากพยายาม {attempts} ครั้ง โปรดตรวจสอบและเล่นซ้ำ"}')
on conflict (code) do update
    set subject = excluded.subject, body = excluded.body, disabled = false, updated_at = now();
